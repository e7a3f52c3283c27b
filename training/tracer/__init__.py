"""Training of the tracer's network on phantoms alone."""
