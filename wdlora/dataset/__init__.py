"""Data sets on disk: reading folders of images with masks and cohorts, writing released data sets."""
