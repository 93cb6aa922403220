"""SDK and command line of Model Engine."""
