"""What lies around every request: ASGI layers, bodies, deadlines, shutdown."""
