"""Making an environment with uv: an interpreter, the requirements, the model server and the artifact in one folder.

    <folder>/venv/       the virtual environment, made in place since it cannot be moved
    <folder>/artifact    the bundle's artifact

uv finds its indexes and certificates as it does on the command line of whoever runs the agent.
"""

import asyncio
import platform
import sys
from pathlib import Path

from model_engine_contracts.failures import Reason
from model_engine_runtime.agent.backend import BuildFailed
from model_engine_runtime.agent.files import remove_tree
from model_engine_runtime.agent.process import model_server_package as model_server
from model_engine_runtime.agent.process.artifact import ArtifactSource, fetch
from model_engine_runtime.agent.process.build_steps import BuildSteps
from model_engine_runtime.agent.process.lock import held
from model_engine_runtime.protocol import Environment, Failure

LOCK_POLL_SECONDS = 0.1


class EnvironmentBuilder:
    """Builds environments of this host. `platform` and `model_server` are part of their keys."""

    def __init__(self, max_artifact_bytes: int) -> None:
        self.platform = f"{sys.platform}-{platform.machine()}"
        self.model_server = model_server.content_version()
        self._max_artifact_bytes = max_artifact_bytes

    async def build(self, environment: Environment, folder: Path, work: Path) -> str:
        """See Backend.build. What an earlier agent's build still does is waited for, then wiped."""
        if environment.image is not None:
            message = "This runtime runs workers as processes; a bundle that is an image needs one with containers."
            raise BuildFailed(Failure(Reason.FLAVOR_UNSUPPORTED, message))
        while True:
            try:
                with held(work / "lock") as lock:
                    await asyncio.to_thread(_empty, folder)
                    await self._build(environment, folder, BuildSteps(work, lock))
                    return str(folder)
            except BlockingIOError:
                await asyncio.sleep(LOCK_POLL_SECONDS)

    async def _build(self, environment: Environment, folder: Path, steps: BuildSteps) -> None:
        venv = folder / "venv"
        await steps.make_venv(venv, interpreter(environment.python))
        if environment.artifact_sha256 is not None or environment.artifact_location is not None:
            if environment.artifact_url is None:
                raise BuildFailed(Failure(Reason.ARTIFACT_MISSING, "The artifact has no address to fetch it from."))
            source = ArtifactSource(
                environment.artifact_url,
                environment.artifact_sha256,
                environment.artifact_version,
                self._max_artifact_bytes,
            )
            size = await fetch(source, folder / "artifact")
            steps.say(f"fetched the artifact: {size} B, as expected")
        await steps.install(venv, [*environment.requirements, *model_server.requirements()])
        site_packages = next((venv / "lib").glob("python*/site-packages"))
        await asyncio.to_thread(model_server.copy_into, site_packages)
        await steps.try_model_server(venv)


def interpreter(python: str | None) -> str:
    """What to ask uv for: a version, or the agent's own interpreter where it is that one. Raises BuildFailed."""
    own = sys.version_info[:2]
    wanted = own if python is None else tuple(int(part) for part in python.split(".")[:2])
    if wanted < (minimum := model_server.minimum_python()):
        message = f"The bundle was made with Python {python}; workers need {minimum[0]}.{minimum[1]} or newer."
        raise BuildFailed(Failure(Reason.PYTHON_MISMATCH, message))
    return str(Path(sys.executable).resolve()) if wanted == own else f"{wanted[0]}.{wanted[1]}"


def _empty(folder: Path) -> None:
    remove_tree(folder)
    folder.mkdir(mode=0o700)
