"""Fill the tables of a study's README from its recorded results: python case_studies/pages.py STUDY ...

A README marks where a table goes, from `<!-- table: methods -->` to `<!-- end -->`; that one is `results/methods.csv`.
"machine" is `results/machine.json`.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pandas as pd

STUDIES = Path(__file__).parent
SLOT = re.compile(r"(<!-- table: (?P<name>\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def refresh(results: Path, page: Path) -> None:
    """Write every marked table whose file is there into the page; the others stay as they are."""

    def fill(slot: re.Match[str]) -> str:
        table = load(results, slot["name"])
        return slot[0] if table is None else f"{slot[1]}{markdown(table)}\n{slot[3]}"

    page.write_text(SLOT.sub(fill, page.read_text()))


def load(results: Path, name: str) -> pd.DataFrame | None:
    """One table of a folder of results, None where it has none of that name."""
    if name == "machine" and (results / "machine.json").exists():
        about: dict[str, Any] = json.loads((results / "machine.json").read_text())
        about |= about.pop("versions", {})
        return pd.DataFrame([{key: value for key, value in about.items() if not isinstance(value, dict)}])
    path = results / f"{name}.csv"
    return pd.read_csv(path) if path.exists() else None


def markdown(table: pd.DataFrame) -> str:
    """The table in Markdown, numbers to four digits, whole ones in full.

    >>> print(markdown(pd.DataFrame({"method": ["auto"], "value": [0.12346], "price": [1350.0], "n": [7]})))
    | method | value | price | n |
    | :-- | --: | --: | --: |
    | auto | 0.1235 | 1350 | 7 |
    """
    sides = ["--:" if pd.api.types.is_numeric_dtype(kind) else ":--" for kind in table.dtypes]
    body = [[_cell(value) for value in row] for row in table.itertuples(index=False)]
    return "\n".join(f"| {' | '.join(row)} |" for row in [list(map(str, table.columns)), sides, *body])


def _cell(value: Any) -> str:
    if pd.isna(value):
        return ""
    if isinstance(value, float):
        return f"{value:.0f}" if value == int(value) or abs(value) >= 1e4 else f"{value:.4g}"
    return str(value)


if __name__ == "__main__":
    for study in sys.argv[1:]:
        refresh(STUDIES / study / "results", STUDIES / study / "README.md")
