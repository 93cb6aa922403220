"""Loads a user's bundle and serves it over HTTP inside a worker."""
