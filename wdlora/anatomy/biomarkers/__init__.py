"""Biomarkers of a nerve mask: skeleton graph, trunks, lengths, counts, and how they are shown."""
