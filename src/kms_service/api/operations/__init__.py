"""Routes of operators, probes and metrics."""
