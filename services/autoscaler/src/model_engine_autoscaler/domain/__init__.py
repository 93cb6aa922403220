"""Decisions of the autoscaler as pure functions and plain data."""
