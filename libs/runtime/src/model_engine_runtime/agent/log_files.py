"""Reading bounded logs. A log is a series of files `<stem>.<offset>.log`, named by the bytes that came before each.

Whoever writes starts a new file when one is full and removes all but the last two; so a reader's offset stays true.
"""

from pathlib import Path

TAIL_LINES = 50
TAIL_BYTES = 8 << 10


def file_name(stem: str, offset: int) -> str:
    """The name of the file that begins after `offset` bytes."""
    return f"{stem}.{offset:015d}.log"


def read_from(folder: Path, stem: str, offset: int, limit: int) -> tuple[bytes, int]:
    """Up to `limit` bytes from `offset` on, and the offset after them. What is gone already is skipped."""
    pieces: list[bytes] = []
    for start, path in _files(folder, stem):
        offset = max(offset, start)
        try:
            with path.open("rb") as file:
                file.seek(offset - start)
                piece = file.read(limit)
        except FileNotFoundError:
            continue  # removed by its writer since it was listed
        pieces.append(piece)
        offset += len(piece)
        limit -= len(piece)
        if limit <= 0:
            break
    return b"".join(pieces), offset


def tail(folder: Path, stem: str) -> str:
    """The last 50 lines, 8 KiB at most."""
    files = _files(folder, stem)
    if not files:
        return ""
    start, path = files[-1]
    end = start + path.stat().st_size
    content, _ = read_from(folder, stem, max(0, end - TAIL_BYTES), TAIL_BYTES)
    lines = content.decode("utf-8", "replace").splitlines()
    return "\n".join(lines[-TAIL_LINES:])


def _files(folder: Path, stem: str) -> list[tuple[int, Path]]:
    found = []
    for path in folder.glob(f"{stem}.*.log"):
        number = path.name[len(stem) + 1 : -len(".log")]
        if number.isdigit():
            found.append((int(number), path))
    return sorted(found)
