"""A workflow as data: files in both formats, links, places (a node and an input), the miniature in a graph's place."""
