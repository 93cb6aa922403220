"""Who may say what: generations, epochs and installations, on every driver."""

from dataclasses import replace

import pytest

from model_engine_local.testing import eventually
from model_engine_runtime.errors import (
    ForeignInstallation,
    InvalidRequest,
    StaleGeneration,
    StaleLeader,
    UnknownEndpoint,
)


async def test_older_generations_are_refused(driver, observer, prepared):
    want = driver.want(await prepared(driver), generation=5)
    await driver.runtime.apply(want)
    with pytest.raises(StaleGeneration):
        await driver.runtime.apply(replace(want, generation=4))
    with pytest.raises(StaleGeneration):
        await driver.runtime.delete("end_a", 4)
    await driver.restart()
    with pytest.raises(StaleGeneration):
        await driver.runtime.apply(replace(want, generation=4))


async def test_a_deleted_endpoint_does_not_come_back(driver, observer, prepared):
    want = driver.want(await prepared(driver))
    await driver.runtime.apply(want)
    await driver.runtime.delete("end_a", 1)
    with pytest.raises(StaleGeneration):
        await driver.runtime.apply(replace(want, generation=9))
    await eventually(lambda: "end_a" in observer.gone)
    await driver.restart()
    with pytest.raises(StaleGeneration):
        await driver.runtime.apply(replace(want, generation=9))


async def test_older_epochs_are_refused_for_every_endpoint(driver, prepared):
    want = driver.want(await prepared(driver))
    await driver.runtime.apply(want)
    await driver.runtime.apply(replace(want, endpoint_id="end_b"))
    await driver.runtime.scale("end_a", 2, epoch=8)
    with pytest.raises(StaleLeader):
        await driver.runtime.scale("end_b", 2, epoch=7)
    await driver.restart()
    with pytest.raises(StaleLeader):
        await driver.runtime.scale("end_a", 0, epoch=7)
    await driver.runtime.scale("end_b", 0, epoch=8)
    with pytest.raises(UnknownEndpoint):
        await driver.runtime.scale("end_c", 1, epoch=8)


async def test_a_foreign_installation_is_refused_while_there_are_workers(driver, observer, prepared):
    want = driver.want(await prepared(driver))
    await driver.runtime.apply(want)
    with pytest.raises(ForeignInstallation):
        await driver.runtime.apply(replace(want, endpoint_id="end_b", installation="other"))
    assert (await observer.look(driver.runtime)).installation == "test"
    await driver.runtime.delete("end_a", 1)
    await eventually(lambda: "end_a" in observer.gone)
    await driver.runtime.apply(replace(want, endpoint_id="end_b", installation="other"))
    assert (await observer.look(driver.runtime)).installation == "other"


async def test_a_malformed_wish_names_the_field(driver, prepared):
    with pytest.raises(InvalidRequest, match="endpoint_id"):
        await driver.runtime.apply(driver.want(await prepared(driver), endpoint_id="../up"))
