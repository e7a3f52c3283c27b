"""The demonstration: three cohorts from mask to measured picture, on the miniature and a CPU."""
