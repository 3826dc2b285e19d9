"""`kms-service local demo`: the product on real parts, told as it happens."""
