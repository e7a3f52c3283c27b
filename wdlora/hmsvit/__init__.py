"""An HMSViT-like network: a hierarchical masked vision transformer for diagnosis and nerve segmentation of CCM images.

Only abstracts of HMSViT (arXiv 2506.19474) are public, so much is assumed: see `network` and `sizes`. This room runs
what was trained.
"""
