"""One HTTP/1.1 connection, bounded in whatever anybody may send before a token is known."""
