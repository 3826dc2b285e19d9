"""PostgreSQL: the tables, and for each a class with its statements. No plaintext secret gets here."""
