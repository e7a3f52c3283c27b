"""The timed comparisons behind docs/studies/benchmarks.md. `python -m benchmarks [SUITE …] [--write]`"""
