"""The guides in docs/guides as tests see them: their commands, what these are said to print, their code."""

import asyncio
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

GUIDES = Path(__file__).parents[1] / "docs" / "guides"
SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Command:
    """One `$` line of a console block; `shown` is what the guide says that it prints, empty where it says nothing."""

    line: str
    shown: str


def commands(guide: str) -> list[Command]:
    """The commands of a guide in order, comments of the shell taken away."""
    found: list[Command] = []
    for block in code_blocks(guide, "console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            line, _, shown = part.partition("\n")
            found.append(Command(re.sub(r"\s+# .*", "", line), shown.strip()))
    return found


def code_blocks(guide: str, language: str) -> list[str]:
    """The code blocks of a guide in one language."""
    text = (GUIDES / f"{guide}.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def with_commands(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment in which a shell finds `model-engine`, whose tables are wide enough for any name."""
    programs = str(Path(sys.executable).parent)
    return {**environment, "PATH": f"{programs}:{environment['PATH']}", "COLUMNS": "200"}


async def run(line: str, environment: Mapping[str, str], folder: Path | None = None) -> str:
    """What a command line prints; it must succeed."""
    process = await asyncio.create_subprocess_shell(
        line, env=environment, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), SECONDS)
    assert process.returncode == 0, f"{line}: {out.decode()}{err.decode()}"
    return out.decode()
