"""ComfyUI's door to the pack. Nothing is imported before ComfyUI asks for the nodes."""

WEB_DIRECTORY = "./web"


async def comfy_entrypoint():
    """Return the pack's extension (ComfyUI's V3 entry point)."""
    from .nodes import extension

    return extension()
