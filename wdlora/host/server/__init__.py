"""The embedded host behind ComfyUI's HTTP and WebSocket interface, with the real front end."""
