"""`kms-service audit`: verify, read and export the log."""
