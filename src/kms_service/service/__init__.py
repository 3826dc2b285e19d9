"""The use cases: they bring keys, ciphertext, rows and the audit log together, and know nothing of HTTP."""
