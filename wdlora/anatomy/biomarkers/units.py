"""The units of the biomarkers, for all that show them; without anything that measures."""

UNITS = {
    "cnfl": "mm/mm²",
    "cnfd": "no./mm²",
    "cnbd": "no./mm²",
    "ctbd": "no./mm²",
    "cnfa": "mm²/mm²",
    "cnfw": "µm/mm²",
    "mean_width_um": "µm",
    "cnfrd": "",
    "tortuosity": "",
    "curvature_per_mm": "1/mm",
    "tortuosity_legacy": "",
    "length_mm": "mm",
    "area_mm2": "mm²",
    "trunks": "",
    "branch_points": "",
    "branch_points_on_trunks": "",
}
"""The figures of the panel, in its order, and their units; empty for counts and ratios."""
