"""Post-inference hooks: what an endpoint wants done after each call; none can fail the call, or another hook."""
