"""`kms-service wallet` and `verify`."""
