"""The audit log: written in chains, read and verified."""
