"""A workflow as data: files in both formats, links, places (a node and an input), the miniature in a graph's place."""

from typing import Any

Graph = dict[str, Any]
"""A workflow in API format: node id → {"class_type": …, "inputs": {name: value or link}, "_meta": {"title": …}}."""
