"""What the services of Model Engine say to one another and to clients: events, API models, subjects, streams."""
