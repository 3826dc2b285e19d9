"""The audit log: written in chains, read, verified."""
