"""Commands as processes: serving, workers, the supervisor."""
