"""Phantoms: images of a nerve plexus whose truth is known."""
