"""Watches the runtime and keeps observed endpoint state in Redis."""
