"""The keys of the pool, as this process knows them."""
