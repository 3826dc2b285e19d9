"""A connection to PostgreSQL: its address, login and session, and what its failures mean."""
