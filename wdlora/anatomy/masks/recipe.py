"""Versions of everything that turns a seed into a plexus."""

RECIPES = (1, 2)

RECIPE = 2
"""What is drawn unless another one is asked for: 2 added the fine network to 1, and left every `mask` as it was."""
