"""The REST API of Model Engine."""
