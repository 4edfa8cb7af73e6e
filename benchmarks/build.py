"""Building the model of a 784-512-512-512-10 network, and loading it into HiGHS, side by side with OMLT.

Same weights (PyTorch's default initialisation, seeded), same box [0, 1]^784. Each measurement runs in a fresh process,
the kinds taking turns, so that no kind profits from another's warm memory and the growth of the peak is its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
from networks import LARGE, SMALL
from record import Tables, spread
from tqdm.auto import tqdm

INTERVAL, CROWN = "ReLUBlock, interval", "ReLUBlock, crown"
TURNS = 5
OMLT_TURNS = 3
ROUTES = ("appsi", "contrib.solver", "LP file")


def main(*, small: bool = False) -> Tables:
    widths, turns = (SMALL, 1) if small else (LARGE, TURNS)
    kinds = [INTERVAL, "arrays", CROWN]
    if find_spec("omlt"):
        kinds.insert(1, "OMLT")
    else:
        print("OMLT is not installed: its half of the comparison is left out (pip install omlt==1.2.2)")
    runs: dict[str, list[dict[str, Any]]] = {kind: [] for kind in kinds}
    for turn in tqdm(range(turns), desc="build", unit="turn"):
        for kind in kinds:
            if kind != "OMLT" or turn < OMLT_TURNS:
                runs[kind].append(measure(kind, widths))
    frames = {kind: pd.DataFrame(found) for kind, found in runs.items()}
    return {"build": builds(frames), "load": loads(frames), "size": sizes(frames)}


def measure(kind: str, widths: tuple[int, ...]) -> dict[str, Any]:
    """One run of build_once.py in a process of its own."""
    script = Path(__file__).with_name("build_once.py")
    command = [sys.executable, str(script), kind, "-".join(map(str, widths))]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def builds(frames: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Network to Pyomo model: seconds and growth of the peak memory, and OMLT's medians over ours."""
    rows = []
    for kind in (INTERVAL, CROWN, "OMLT"):
        if kind in frames:
            rows.append({"model": kind, **_summary(frames[kind]["seconds"]), **_memory(frames[kind])})
    table = pd.DataFrame(rows)
    if "OMLT" in frames:
        theirs = table.set_index("model").loc["OMLT"]
        table["times faster than OMLT"] = float(theirs["seconds"]) / table["seconds"]
        table["memory of OMLT over it"] = float(theirs["peak MB"]) / table["peak MB"]
    return table


def loads(frames: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Into HiGHS: every route, and how many times faster the array path is, from the network on.

    The array path starts at the network. The other routes start at the finished Pyomo model; `with build` counts the
    time of building that model as well.
    """
    ours = float(frames["arrays"]["seconds"].median())
    rows = [{"from": "network", "route": "arrays", **_summary(frames["arrays"]["seconds"]), "with build": ours}]
    for kind in (INTERVAL, "OMLT"):
        for route in (("omlt_ext.highs",) if kind == INTERVAL else ()) + ROUTES:
            if kind in frames:
                times = frames[kind][route]
                together = float((times + frames[kind]["seconds"]).median())
                rows.append({"from": kind, "route": route, **_summary(times), "with build": together})
    table = pd.DataFrame(rows)
    table["arrays faster"] = table["seconds"] / ours
    table["arrays faster, with build"] = table["with build"] / ours
    return table


def sizes(frames: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """What HiGHS holds in the end, and the parts of the array path."""
    columns = ["columns", "binaries", "rows", "nonzeros"]
    rows: list[dict[str, Any]] = [
        {"model": kind, **dict(zip(columns, frame["size"][0], strict=True))} for kind, frame in frames.items()
    ]
    parts = frames["arrays"][["bounds", "model", "pass"]].median().add_suffix(" s")
    for row in rows:
        row.update(parts if row["model"] == "arrays" else {})
    return pd.DataFrame(rows)


def _summary(times: pd.Series) -> dict[str, Any]:
    return {"seconds": float(times.median()), "spread": spread(times), "runs": len(times)}


def _memory(frame: pd.DataFrame) -> dict[str, Any]:
    return {"peak MB": float(frame["peak_mb"].median()), "spread MB": spread(frame["peak_mb"])}
