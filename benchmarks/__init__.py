"""The timed comparisons behind docs/benchmarks.md. `python -m benchmarks [SUITE …] [--write]`"""
