"""Turns a requested endpoint into running inference workers."""
