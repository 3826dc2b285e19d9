"""AWS KMS on loopback, in layers: keys, then faults on cue, then latency."""
