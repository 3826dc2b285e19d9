"""`kms-service rotation`."""
