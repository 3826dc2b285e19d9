"""What surrounds every request: ASGI layers, bodies, deadlines, shutdown."""
