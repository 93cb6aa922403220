"""The whole of Model Engine on one machine: embedded servers, the agent and the services."""
