"""Measures the service on one machine: `python -m benchmarks`, explained in README.md beside this file."""
