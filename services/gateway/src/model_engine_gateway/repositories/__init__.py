"""Every query of the gateway's control half, one module per collection."""
