"""What the service reports about itself: logs, metrics and traces, with nothing secret in them."""
