"""This pack on ComfyUI's own models; the only modules that import `comfy`."""
