"""Routes of wallets, keys and signatures."""
