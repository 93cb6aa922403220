"""The route table: whole sets, the newest wins, the less loaded of two is taken, refusing workers are left out."""

from collections import Counter

from model_engine_contracts.events import EndpointObserved, ObservedWorker
from model_engine_gateway.inference.routes import SUSPECT_SECONDS, RouteTable

END = "end_1"


def observed(epoch: int, counter: int, *workers: tuple[str, str, str | None]) -> EndpointObserved:
    return EndpointObserved(
        endpoint_id=END,
        epoch=epoch,
        counter=counter,
        generation=1,
        replicas=len(workers),
        workers=tuple(ObservedWorker(id=id_, revision="r", state=state, address=to) for id_, state, to in workers),
    )


def test_only_ready_workers_with_an_address_are_chosen() -> None:
    routes = RouteTable(lambda _: None)
    routes.observe(
        observed(1, 1, ("a", "STARTING", "h:1"), ("b", "READY", None), ("c", "READY", "h"), ("d", "READY", "[::1]:4"))
    )
    worker = routes.choose(END, 0.0)
    assert worker is not None
    assert (worker.id, worker.host, worker.port) == ("d", "::1", 4)
    assert routes.choose(END, 0.0, avoid={"d"}) is None
    assert routes.choose("end_other", 0.0) is None


def test_the_highest_epoch_and_counter_wins() -> None:
    changes: list[str] = []
    routes = RouteTable(changes.append)
    routes.observe(observed(2, 1, ("new", "READY", "h:1")))
    for stale in (observed(1, 99, ("old", "READY", "h:1")), observed(2, 1), observed(2, 0)):
        routes.observe(stale)
    assert routes.has_worker(END, 0.0)
    assert changes == [END]
    routes.observe(observed(3, 0))
    assert not routes.has_worker(END, 0.0)


def test_a_worker_that_stays_keeps_its_count_and_a_moved_one_does_not() -> None:
    routes = RouteTable(lambda _: None)
    routes.observe(observed(1, 1, ("a", "READY", "h:1")))
    worker = routes.choose(END, 0.0)
    assert worker is not None
    worker.in_flight = 3
    routes.observe(observed(1, 2, ("a", "READY", "h:1")))
    assert routes.choose(END, 0.0) is worker
    routes.observe(observed(1, 3, ("a", "READY", "h:2")))
    moved = routes.choose(END, 0.0)
    assert moved is not None
    assert (moved.port, moved.in_flight) == (2, 0)


def test_of_two_random_workers_the_less_loaded_is_taken() -> None:
    routes = RouteTable(lambda _: None)
    routes.observe(observed(1, 1, *((name, "READY", f"h:{ord(name)}") for name in "abcd")))
    chosen: Counter[str] = Counter()
    for _ in range(400):
        worker = routes.choose(END, 0.0)
        assert worker is not None
        worker.in_flight += 1
        chosen[worker.id] += 1
    assert max(chosen.values()) - min(chosen.values()) <= 10


def test_a_suspect_is_left_out_until_the_next_set_or_a_while() -> None:
    routes = RouteTable(lambda _: None)
    routes.observe(observed(1, 1, ("a", "READY", "h:1")))
    worker = routes.choose(END, 100.0)
    assert worker is not None
    routes.suspect(worker, 100.0)
    assert routes.choose(END, 100.0) is None
    assert routes.choose(END, 100.0 + SUSPECT_SECONDS) is worker
    routes.observe(observed(1, 2, ("a", "READY", "h:1")))
    assert routes.choose(END, 100.0) is worker
