"""Tracing nerves in images without learned weights."""
