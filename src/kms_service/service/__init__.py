"""The use cases, one file each: they join keys, ciphertext, rows and audit, and know nothing of HTTP."""
