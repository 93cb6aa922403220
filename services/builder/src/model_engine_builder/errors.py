"""What can go wrong in a pass that the next one mends."""


class LeaseSuperseded(Exception):
    """Another builder has worked on this endpoint under a newer lease; what this one remembers is out of date."""
