"""A KMS client on the event loop: requests are signed, waits are bounded, replies are distrusted."""
