"""The skeleton of a mask as a graph: thinning, segments and junctions, half-edges, crossings, paths."""
