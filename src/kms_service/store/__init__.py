"""PostgreSQL: tables, and one class a table that knows its statements. Holds only what is not secret."""
