"""Jobs that move wallets and audit chains between KMS keys."""
