"""Whether synthetic images can be trusted: fidelity against a floor, and agreement of biomarkers."""
