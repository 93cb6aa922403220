"""What nobody wants any more: workers without an endpoint, environments without a user. With a brake.

An empty or foreign view of the database must never kill the fleet.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from model_engine_runtime.protocol import Preparation, PrepState, SetState

ALWAYS_ALLOWED = 5
ALLOWED_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class OrphanVerdict:
    """`candidates` are for the next pass. `braked` tells that there were more orphans than may be removed at once."""

    candidates: frozenset[str] = frozenset()
    remove: tuple[SetState, ...] = ()
    braked: int = 0


def judge_orphans(
    sets: Sequence[SetState],
    endpoints: Collection[str],
    earlier: frozenset[str],
    *,
    is_ours: bool,
    now: float,
    min_age: float,
) -> OrphanVerdict:
    """Which workers to remove. `endpoints` are the ids of a majority read that is younger than `sets`.

    An orphan is absent in two passes (`earlier` holds the last one's candidates) and older than `min_age` seconds.
    Nothing is removed while there are no endpoints or the runtime is not this installation's (`is_ours`), nor when
    more than max(5, 10 %) of all would go at once.
    """
    if not endpoints or not is_ours:
        return OrphanVerdict()
    absent = [
        state
        for state in sets
        if state.endpoint_id not in endpoints and not state.deleting and now - state.created_at > min_age
    ]
    candidates = frozenset(state.endpoint_id for state in absent)
    orphans = tuple(state for state in absent if state.endpoint_id in earlier)
    if len(orphans) > max(ALWAYS_ALLOWED, ALLOWED_SHARE * len(sets)):
        return OrphanVerdict(candidates, braked=len(orphans))
    return OrphanVerdict(candidates, orphans)


def unused_environments(
    preparations: Sequence[Preparation], used: Collection[str], unused_since: Mapping[str, float], now: float
) -> dict[str, float]:
    """Since when each environment that is done and that no rollout names has been unused, in Unix time."""
    return {
        preparation.key: unused_since.get(preparation.key, now)
        for preparation in preparations
        if preparation.state in (PrepState.READY, PrepState.FAILED) and preparation.key not in used
    }
