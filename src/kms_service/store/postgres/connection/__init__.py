"""One connection to PostgreSQL: where it goes, who logs in, what its session is, what its failures mean."""
