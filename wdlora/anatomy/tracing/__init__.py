"""Tracing nerves in images: by a network that ships, by line filters, or by a network of the user's."""
