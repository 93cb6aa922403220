"""One module per way of forwarding."""
