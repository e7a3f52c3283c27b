"""Nerve masks to order: targets, growth, drawing, degeneration."""
