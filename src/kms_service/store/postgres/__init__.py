"""PostgreSQL itself: connections, statements, schema."""
