"""The data plane of the gateway: predictions go straight to workers."""
