"""What the service tells about itself: structured logs and metrics, with nothing secret in them."""
