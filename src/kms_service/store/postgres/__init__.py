"""PostgreSQL itself: connections, statements and the schema."""
