"""Phantom 2: corneal frames with the grain, light, widths and distractors of real ones."""
