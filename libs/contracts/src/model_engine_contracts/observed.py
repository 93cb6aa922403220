"""Observed state in Redis: the keys that the cache writes and the gateways read.

Each value is the JSON of one EndpointObserved; the highest (epoch, counter) wins. Redis may be deleted at any time: the
cache sees that OBSERVED_COMPLETE is gone and writes everything again.
"""

OBSERVED_PREFIX = "me:observed:"
OBSERVED_COMPLETE = "me:observed-complete"
"""Set to the cache leader's epoch when every endpoint of the runtime has been written."""


def observed_key(endpoint_id: str) -> str:
    """The key of one endpoint's observed state."""
    return f"{OBSERVED_PREFIX}{endpoint_id}"
