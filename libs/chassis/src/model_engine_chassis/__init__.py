"""How a service of Model Engine runs: settings, connections, delivery, health, telemetry."""
