"""`kms-service pool`."""
