"""`kms-service token`, `seal`, `unseal` and `canary`."""
