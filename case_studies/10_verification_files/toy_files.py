"""Three tiny networks with properties whose verdicts are known beforehand, to try the study without any files.

y >= g has a counterexample where a sampled point reaches g, and none where interval arithmetic stays below g.
"""

from __future__ import annotations

import csv
from itertools import pairwise
from pathlib import Path

import numpy as np

from omlt_ext import Box, Layer, Network, tighten_bounds
from omlt_ext.verification import Disjunct, Property, write_vnnlib
from omlt_ext.writers.onnx import save_onnx

WIDTHS = {"narrow": (2, 6, 1), "wide": (4, 12, 1), "deep": (3, 6, 6, 1)}


def random_network(widths: tuple[int, ...], rng: np.random.Generator) -> Network:
    """Normal weights, ReLUs in all layers but the last."""
    layers = []
    for k, (n, m) in enumerate(pairwise(widths)):
        weight, bias = rng.normal(size=(m, n)) / np.sqrt(n), rng.normal(size=m) / np.sqrt(n)
        layers.append(Layer(weight, bias, relu=k < len(widths) - 2))
    return Network(layers)


def write_toys(folder: Path) -> Path:
    """Write networks, properties and their list; the path of the list."""
    lines = []
    for seed, (name, widths) in enumerate(WIDTHS.items()):
        rng = np.random.default_rng(seed)
        network, box = random_network(widths, rng), Box.full(widths[0], -1, 1)
        (folder / name).mkdir(parents=True, exist_ok=True)
        save_onnx(network, folder / name / "net.onnx")
        reached = float(network(rng.uniform(-1, 1, (1000, widths[0]))).max())
        above = float(tighten_bounds(network, box, effort="interval").upper[-1][0])
        for verdict, side in (("sat", reached - 0.01), ("unsat", above + 0.01), ("unknown", (reached + above) / 2)):
            unsafe = Property([Disjunct(box, Gy=[[-1.0]], g=[-side])])
            (folder / name / f"{verdict}.vnnlib").write_text(write_vnnlib(unsafe) + "\n")
            lines.append((f"{name}/net.onnx", f"{name}/{verdict}.vnnlib", verdict))
    path = folder / "instances.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(lines)
    return path
