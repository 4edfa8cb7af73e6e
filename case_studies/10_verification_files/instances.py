"""Lists of instances: which property of which network is to be judged, and the verdict that others have recorded.

A list is a .csv, with a line of names above it (net, property, and if wanted verdict), or without one as in the
verification competitions: net, property, and seconds or a verdict.
"""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass
from pathlib import Path

from omlt_ext.errors import ReadError

NAMES = {"net": "net", "network": "net", "onnx": "net", "property": "property", "vnnlib": "property"}
NAMES |= {"verdict": "verdict", "result": "verdict"}
WORDS = {"sat": "sat", "violated": "sat", "unsat": "unsat", "holds": "unsat"}
OPEN = ("", "unknown", "timeout", "error")
PLAIN = ("onnx", "nets", "networks")  # folders whose name says nothing of a family


@dataclass(frozen=True)
class Instance:
    """A network's file and a property's; `recorded` is "sat", "unsat" or None."""

    family: str
    net: Path
    unsafe: Path
    recorded: str | None = None

    def __str__(self) -> str:
        return f"{self.net.name}, {self.unsafe.name}"

    def digest(self) -> str:
        """Of both files: what has changed since is another instance."""
        content = b"".join(hashlib.sha256(path.read_bytes()).digest() for path in (self.net, self.unsafe))
        return hashlib.sha256(content).hexdigest()[:12]


def read_instances(files: list[Path]) -> list[Instance]:
    """The instances of a list, of a folder with `instances.csv` in it, or of one network and its properties.

    Raises `ReadError` where a file is missing, or a line of a list is none.
    """
    first, rest = files[0], files[1:]
    if first.is_dir():
        first /= "instances.csv"
    if first.suffix.lower() == ".csv":
        if rest:
            raise ReadError(f"{rest[0]}: a list stands alone; leave out what follows {first}")
        return read_list(first)
    if not rest:
        raise ReadError(f"{first}: a network needs properties; give their files after it, or a list (.csv)")
    return [Instance(first.stem, present(first, "the network"), present(path, "the property")) for path in rest]


def read_list(path: Path) -> list[Instance]:
    """All lines of a list; files stand relative to its folder."""
    present(path, "the list")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = [(number, [cell.strip() for cell in line]) for number, line in enumerate(csv.reader(file), start=1)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ReadError(f"{path}: no list of instances ({error})") from None
    lines = [(number, line) for number, line in lines if any(line)]
    head = [NAMES.get(name.lower(), "") for name in lines[0][1]] if lines else []
    if "net" in head and "property" in head:
        lines = lines[1:]
    else:
        head = ["net", "property", "verdict"]
    if not lines:
        raise ReadError(f"{path}: it lists nothing; a line is a network, a property, and if known the verdict")
    return [_instance(path, number, dict(zip(head, line, strict=False))) for number, line in lines]


def _instance(path: Path, number: int, cells: dict[str, str]) -> Instance:
    where = f"{path}, line {number}"
    if not (cells.get("net") and cells.get("property")):
        raise ReadError(f"{where}: a line needs a network and a property")
    word = cells.get("verdict", "").lower()
    if word not in WORDS and word not in OPEN and not _is_number(word):
        known = ", ".join([*WORDS, *filter(None, OPEN)])
        raise ReadError(f"{where}: {word!r} is no verdict; those are {known}")
    net = present(path.parent / cells["net"], f"{where}: the network")
    unsafe = present(path.parent / cells["property"], f"{where}: the property")
    folders = [part for part in Path(cells["net"]).parts[:-1] if part not in (".", "..", *PLAIN)]
    relative = bool(folders) and not Path(cells["net"]).is_absolute()
    family = folders[0] if relative else path.resolve().parent.name
    return Instance(family, net, unsafe, WORDS.get(word))


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def present(path: Path, what: str) -> Path:
    """The path, or that with .gz behind it; `ReadError` where neither is a file."""
    for candidate in (path, path.with_name(path.name + ".gz")):
        if candidate.is_file():
            return candidate
    raise ReadError(f"{what} {path} is no file; check the name")
