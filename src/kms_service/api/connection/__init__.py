"""One HTTP/1.1 connection, with limits on what anybody may send before a token is known."""
