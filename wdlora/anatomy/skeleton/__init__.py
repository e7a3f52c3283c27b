"""The skeleton of a mask as a graph: thinning, segments and junctions, paths, crossings."""
