"""Measures the service on one machine: `python -m benchmarks`; README.md beside this file explains it."""
