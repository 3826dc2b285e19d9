"""What operators switch for all replicas: the seal, canaries."""
