"""Copies: whether synthetic images repeat images that a generator was trained on."""
