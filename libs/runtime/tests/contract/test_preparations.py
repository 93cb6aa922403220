"""Environments, on every driver."""

import asyncio

import pytest

from model_engine_contracts.failures import Reason
from model_engine_local.testing import eventually
from model_engine_runtime.errors import EnvironmentInUse, EnvironmentNotReady
from model_engine_runtime.protocol import PrepState


def state_of(observer, key):
    known = observer.preparations.get(key)
    return known and known.state


async def test_many_callers_get_one_build(driver, observer):
    environment = driver.environment("slow")
    answers = await asyncio.gather(*(driver.runtime.prepare(environment) for _ in range(20)))
    [key] = {answer.key for answer in answers}
    assert {answer.state for answer in answers} <= {PrepState.QUEUED, PrepState.BUILDING}
    await eventually(lambda: state_of(observer, key) is PrepState.READY, timeout=60)
    assert observer.preparations[key].ref
    again = await driver.runtime.prepare(environment)
    assert again == observer.preparations[key]


async def test_a_failed_one_says_why_and_can_be_tried_again(driver, observer):
    environment = driver.environment("unresolvable")
    key = (await driver.runtime.prepare(environment)).key
    await eventually(lambda: state_of(observer, key) is PrepState.FAILED, timeout=60)
    failure = observer.preparations[key].failure
    assert failure.reason is Reason.REQUIREMENTS_UNRESOLVABLE
    assert failure.exit_code
    assert (await driver.runtime.prepare(environment)).state is PrepState.FAILED
    await driver.runtime.release(key)
    assert (await driver.runtime.prepare(environment)).state is PrepState.QUEUED


async def test_release_is_refused_while_workers_need_it(driver, observer, prepared):
    key = await prepared(driver)
    await driver.runtime.apply(driver.want(key))
    with pytest.raises(EnvironmentInUse):
        await driver.runtime.release(key)
    await driver.runtime.delete("end_a", 1)
    await eventually(lambda: "end_a" in observer.gone)
    await driver.runtime.release(key)
    await eventually(lambda: key in observer.gone)
    with pytest.raises(EnvironmentNotReady):
        await driver.runtime.apply(driver.want(key, endpoint_id="end_b"))


async def test_release_is_refused_during_the_build_and_fine_for_what_is_not_there(driver, observer):
    key = (await driver.runtime.prepare(driver.environment("slow"))).key
    with pytest.raises(EnvironmentInUse):
        await driver.runtime.release(key)
    await driver.runtime.release("0123")
    await eventually(lambda: "0123" in observer.gone)


async def test_a_build_survives_the_end_of_what_makes_it(driver):
    key = (await driver.runtime.prepare(driver.environment("slow"))).key
    await driver.restart()

    async def ready():
        preparation = await driver.runtime.prepare(driver.environment("slow"))
        assert preparation.key == key
        return preparation.state is PrepState.READY

    await eventually(ready, timeout=60)
