"""Runs the benchmarks, one process each: all of them, or the named ones (`python benchmarks/run.py puller`).

A benchmark is a file beside this one with a function `main() -> None`, which prints its figures and the ratio to its
peer, measured in the same run.
"""

import ast
import subprocess
import sys
from pathlib import Path


def benchmarks() -> dict[str, Path]:
    """Every benchmark by its name."""
    files = [file for file in sorted(Path(__file__).parent.glob("*.py")) if file.name != Path(__file__).name]
    return {file.stem: file for file in files if _has_main(file)}


def _has_main(file: Path) -> bool:
    return any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in ast.parse(file.read_text()).body)


def run(names: list[str]) -> int:
    """Run the named benchmarks, or all; the exit code is 1 when one of them failed, 2 for an unknown name."""
    known = benchmarks()
    if unknown := sorted(set(names) - known.keys()):
        print(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    failed = []
    for name in names or list(known):
        print(f"== {name}", flush=True)
        if subprocess.run([sys.executable, str(known[name])], check=False).returncode != 0:
            failed.append(name)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
