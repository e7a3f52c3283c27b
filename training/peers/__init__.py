"""Other generators on the same data, on MONAI: SPADE, a conditional GAN, and "MAISI-2D", a latent diffusion.

They are the peers of the WDLoRA paper's sections IV.C and V.C.
"""
