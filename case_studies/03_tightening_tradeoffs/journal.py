"""The records of a run in a file of JSON lines: a kill costs one record at most, and another run goes on from there."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

from experiment import GAP, Case, Record

sys.path.append(str(Path(__file__).resolve().parents[1]))
from json_lines import append_line, read_lines

SLACK = {"bound": GAP, "margin_bound": 1e-6}  # of a solver's dual bound and of a rung's own bound, relative


class Journal:
    """All records in a file, written one by one as they are finished.

    Raises `ReadError` where the file holds anything else; a last line that was cut off is removed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records: list[Record] = read_lines(path, ("case", "rung"))

    def of(self, case: Case) -> list[Record]:
        """The records of one case."""
        return [record for record in self.records if record["case"] == asdict(case)]

    def add(self, case: Case, record: Record) -> None:
        """Hold a record against the others of its case, and write it."""
        check_agreement(record, self.of(case))
        append_line(self.path, record)
        self.records.append(record)


def check_agreement(record: Record, others: list[Record]) -> None:
    """All rungs must give one answer: no value lies above another's bound. `RuntimeError` where one does."""
    name = f"{record['network']}, image {record['case']['image']}"
    for other in others:
        if record["digest"] != other["digest"]:
            raise RuntimeError(f"{name}: trained anew, the network has other weights than before; use a new folder")
        for high, low in ((record, other), (other, record)):
            for bound, slack in SLACK.items():
                if high["value"] > low[bound] + slack * max(1.0, abs(low[bound])):
                    raise RuntimeError(
                        f"{name}: the value {high['value']} with {high['rung']} bounds lies above the {bound} "
                        f"{low[bound]} with {low['rung']} bounds"
                    )
