"""What a benchmark leaves behind: tables on the screen, CSV files, and JSON with the machine in general terms."""

from __future__ import annotations

import json
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd

PACKAGES = (
    "omlt-ext",
    "numpy",
    "scipy",
    "pyomo",
    "highspy",
    "onnx",
    "pandas",
    "omlt",
    "onnxruntime",
    "pyscipopt",
    "gurobipy",
)

Tables = dict[str, pd.DataFrame]


def machine() -> dict[str, Any]:
    """Cores that this process may use, memory, Python, and the versions of the packages that matter."""
    affinity = getattr(os, "sched_getaffinity", None)
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": len(affinity(0)) if affinity else os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "load_before": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "packages": found,
    }


def peak_memory_mb() -> float:
    """The largest resident size of this process so far, in MB.

    On Linux from /proc: `ru_maxrss` would start at the size of the process that started this one.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1e3
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def spread(values: pd.Series) -> str:
    """The least and the largest value, as text.

    >>> spread(pd.Series([0.5, 0.25, 1.0]))
    '0.25-1'
    """
    return f"{values.min():.3g}-{values.max():.3g}"


def show(name: str, tables: Tables) -> None:
    """Print the tables."""
    for title, table in tables.items():
        print(f"\n{name}: {title}")
        print(table.to_string(index=False, float_format=lambda value: f"{value:.4g}", na_rep="-"), flush=True)


def write(folder: Path, name: str, tables: Tables, about: dict[str, Any]) -> None:
    """NAME.TITLE.csv for each table, NAME.json with all of them and the machine."""
    folder.mkdir(parents=True, exist_ok=True)
    for title, table in tables.items():
        table.to_csv(folder / f"{name}.{title}.csv", index=False, float_format="%.6g")
    content = {title: json.loads(table.to_json(orient="records")) for title, table in tables.items()}
    (folder / f"{name}.json").write_text(json.dumps({"machine": about, **content}, indent=1) + "\n")
