"""What operators switch for all replicas: the seal and the canaries."""
