"""Whether synthetic images can be trusted: fidelity against a baseline, and agreement of biomarkers."""
