"""The runs of a study in a file of JSON lines: a kill costs one of them at most, another session goes on from there."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from omlt_ext.errors import ReadError


def read_lines(path: Path, needed: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """All records, none where there is no file; a last line that was cut off is removed from it.

    Raises `ReadError` for a line that is no record, or one without the `needed` names.
    """
    if not path.exists():
        return []
    whole, newline, rest = path.read_bytes().rpartition(b"\n")
    records = []
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            record = json.loads(line)
            lacking = [name for name in needed if name not in record]
        except (ValueError, TypeError) as error:
            raise ReadError(f"{path}, line {number}: not a run ({error}); remove the line or the file") from None
        if lacking:
            raise ReadError(f"{path}, line {number}: a run without {lacking[0]!r}; remove the line or the file")
        records.append(record)
    if rest:
        os.truncate(path, len(whole) + len(newline))
    return records


def append_line(path: Path, record: dict[str, Any]) -> None:
    """Write one record, down to the disk."""
    with path.open("a") as file:
        file.write(json.dumps(record) + "\n")
        file.flush()
        os.fsync(file.fileno())
