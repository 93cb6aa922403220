"""A whole platform per test module: every service a real process, on free ports and in a folder of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from platform_under_test import Platform, PlatformFactory


@pytest.fixture(scope="module")
def start_platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlatformFactory]:
    """Start a platform: `start_platform(scale={"gateway": 2}, ME_STABLE_WINDOW_SECONDS="2")`; stopped afterwards."""
    started: list[Platform] = []

    def start(scale: dict[str, int] | None = None, **settings: str) -> Platform:
        folder: Path = tmp_path_factory.mktemp("platform")
        platform = Platform.start(folder, scale or {}, settings)
        started.append(platform)
        return platform

    yield start
    for platform in started:
        platform.stop()
        assert platform.leftovers() == [], "a process outlived its platform"


@pytest.fixture(scope="module")
def platform(start_platform: PlatformFactory) -> Platform:
    """A platform with short windows, so that tests of scaling need not wait for a minute."""
    return start_platform(
        ME_STABLE_WINDOW_SECONDS="2",
        ME_PANIC_WINDOW_SECONDS="1",
        ME_ZERO_GRACE_SECONDS="1",
        ME_COOLDOWN_SECONDS="2",
    )
