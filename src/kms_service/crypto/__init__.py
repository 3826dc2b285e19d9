"""The cryptographic core, without I/O: key material, envelope, export, audit chain, row MACs."""
