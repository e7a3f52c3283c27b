"""How the shipped miniature was made: procedural pictures, the VAE, the text encoder and the MMDiT."""

STAGES = ("vae", "text", "mmdit", "export", "measure")
