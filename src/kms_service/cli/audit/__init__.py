"""`kms-service audit`: the log verified, read, and taken outside."""
