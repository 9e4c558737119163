"""Whole-path comparisons of mqcore with other ZeroMQ libraries for Python: `make bench`, BENCHMARKS.md."""
