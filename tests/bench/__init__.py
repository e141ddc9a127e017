"""Benchmarks: `make bench`.  They measure, and assert nothing."""
