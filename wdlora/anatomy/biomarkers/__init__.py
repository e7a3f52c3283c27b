"""Biomarkers of a nerve mask: rules, trunks, nerves, the panel, its tables and pictures."""
