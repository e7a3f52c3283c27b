"""The timed comparisons behind docs/studies/benchmarks.md. `python -m benchmarks [SUITE …] [--write]`"""

from wdlora.quiet import silence_kernel_warning

silence_kernel_warning()  # peft, which some suites import, imports bitsandbytes
