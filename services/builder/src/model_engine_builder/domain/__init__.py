"""What is to be done next for an endpoint. Pure: no I/O, no clock."""
