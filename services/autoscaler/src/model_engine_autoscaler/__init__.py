"""Sets the number of workers of each endpoint from its load."""
