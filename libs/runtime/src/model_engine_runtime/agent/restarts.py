"""When a worker that ended is started again, and when it has ended too often. Pure."""

import random
from collections import deque
from dataclasses import dataclass, field

from model_engine_contracts.failures import Reason
from model_engine_runtime.protocol import Failure

STABLE_SECONDS = 30.0
"""READY for so long means that earlier exits are forgotten."""

WINDOW_SECONDS = 60.0
EXITS_IN_WINDOW = 3
FIRST_DELAY_SECONDS = 1.0
LONGEST_DELAY_SECONDS = 30.0


@dataclass(slots=True)
class Restarts:
    """The exits of one worker. Moments in seconds of any one clock."""

    in_a_row: int = 0
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=EXITS_IN_WINDOW))

    def exited(self, failure: Failure, now: float, ready_since: float | None) -> Failure:
        """Count an exit and return its failure, which is CRASH_LOOP at the third one within a minute."""
        if ready_since is not None and now - ready_since >= STABLE_SECONDS:
            self.in_a_row = 0
            self.recent.clear()
        self.in_a_row += 1
        self.recent.append(now)
        if len(self.recent) < EXITS_IN_WINDOW or now - self.recent[0] > WINDOW_SECONDS:
            return failure
        message = f"{EXITS_IN_WINDOW} exits within {now - self.recent[0]:.0f} s; the last: {failure.reason}: "
        return Failure(Reason.CRASH_LOOP, message + failure.message, failure.exit_code, failure.log_tail)

    def delay(self) -> float:
        """Seconds until the next start: none after a first exit, then doubling with jitter."""
        if self.in_a_row <= 1:
            return 0.0
        full = min(LONGEST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2.0 ** min(self.in_a_row - 2, 30))
        return full * random.uniform(0.5, 1.0)  # noqa: S311  # jitter, not a secret
