"""The Regions whose KMS has the same keys: one that is asked first, and one that stands in for it."""
