"""How a service of Model Engine runs: settings, connections, delivery, health, telemetry."""

from model_engine_chassis.cancellation import mend_wait_for

mend_wait_for()
