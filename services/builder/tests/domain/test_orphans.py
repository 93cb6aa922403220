"""The orphan rule with its brake, and unused environments."""

import pytest

from model_engine_builder.domain.orphans import judge_orphans, unused_environments
from model_engine_runtime.protocol import Preparation, PrepState, SetState

NOW, OLD_ENOUGH = 1000.0, 600.0


def fleet(count: int, created_at: float = NOW - OLD_ENOUGH, **fields: bool) -> list[SetState]:
    return [SetState(f"end_{i}", 1, "r", 1, created_at=created_at, **fields) for i in range(count)]


def ids(*numbers: int) -> frozenset[str]:
    return frozenset(f"end_{i}" for i in numbers)


@pytest.mark.parametrize(
    ("sets", "endpoints", "earlier", "is_ours", "removed", "braked"),
    [
        pytest.param(fleet(3), ids(0, 1, 2), ids(), True, 0, 0, id="all wanted"),
        pytest.param(fleet(3), ids(0, 1), ids(), True, 0, 0, id="absent once"),
        pytest.param(fleet(3), ids(0, 1), ids(2), True, 1, 0, id="absent twice"),
        pytest.param(fleet(3), ids(0, 1), ids(1), True, 0, 0, id="another was absent before"),
        pytest.param(fleet(3, NOW - 299), ids(0, 1), ids(2), True, 0, 0, id="too young"),
        pytest.param(fleet(3, deleting=True), ids(0, 1), ids(2), True, 0, 0, id="going already"),
        pytest.param(fleet(3), ids(), ids(0, 1, 2), True, 0, 0, id="an empty database"),
        pytest.param(fleet(3), ids(0), ids(1, 2), False, 0, 0, id="another installation's"),
        pytest.param(fleet(9), ids(0), ids(*range(9)), True, 0, 8, id="braked"),
        pytest.param(fleet(6), ids(0), ids(*range(9)), True, 5, 0, id="five are never braked"),
        pytest.param(fleet(100), ids(*range(90)), ids(*range(100)), True, 10, 0, id="a tenth"),
        pytest.param(fleet(100), ids(*range(89)), ids(*range(100)), True, 0, 11, id="more than a tenth"),
    ],
)
def test_the_orphan_rule(
    sets: list[SetState], endpoints: frozenset[str], earlier: frozenset[str], is_ours: bool, removed: int, braked: int
) -> None:
    verdict = judge_orphans(sets, endpoints, earlier, is_ours=is_ours, now=NOW, min_age=300.0)
    assert (len(verdict.remove), verdict.braked) == (removed, braked)
    assert not {state.endpoint_id for state in verdict.remove} & endpoints


def test_a_wrong_database_makes_no_candidates() -> None:
    assert judge_orphans(fleet(3), (), frozenset(), is_ours=True, now=NOW, min_age=300.0).candidates == frozenset()


def test_environments_are_unused_since_they_were_first_seen_so() -> None:
    preparations = [
        Preparation("used", PrepState.READY),
        Preparation("unused", PrepState.READY),
        Preparation("failed", PrepState.FAILED),
        Preparation("new", PrepState.READY),
        Preparation("in the making", PrepState.BUILDING),
    ]
    before = {"unused": 5.0, "failed": 6.0, "used": 7.0, "released": 8.0}
    assert unused_environments(preparations, {"used"}, before, 9.0) == {"unused": 5.0, "failed": 6.0, "new": 9.0}
