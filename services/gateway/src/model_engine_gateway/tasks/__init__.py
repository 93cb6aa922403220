"""Async tasks: durable once accepted, delivered to workers, ended exactly once."""
