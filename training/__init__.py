"""The CCM fine-tune and what is compared with it; run as `python -m training COMMAND …`."""

from wdlora.quiet import silence_kernel_warning

silence_kernel_warning()  # peft, which most modules here import, imports bitsandbytes
