"""KMS over its JSON protocol on the event loop: signed, bounded, and distrusted."""
