"""The Regions whose KMS opens the same keys: one that is asked, and one that stands in for it."""
