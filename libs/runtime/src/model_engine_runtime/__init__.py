"""Where inference workers run: the Runtime protocol and its drivers."""
