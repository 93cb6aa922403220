"""The agent: a small daemon that owns the lives of workers on one host."""
