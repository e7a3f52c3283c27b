"""The CCM fine-tune and what is compared with it; run as `python -m training COMMAND …`."""
