"""Jobs that move wallets and the keys of MACs between KMS keys."""
