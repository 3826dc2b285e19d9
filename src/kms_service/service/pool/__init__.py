"""The key pool, as operators see and change it."""
