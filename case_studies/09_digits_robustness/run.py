"""Robustness of a digit classifier, from training to a verdict on each of 100 test images.

    python case_studies/09_digits_robustness/run.py [--small] [--norm inf|1] [--radius R] [--images N] [--milp N]

What is asked, and what came out, is in the README beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from digit_verdicts import digest, judge
from digits_report import draw, tables, text
from tqdm.auto import tqdm

sys.path.append(str(Path(__file__).resolve().parents[1]))
sys.path.append(str(Path(__file__).resolve().parents[1] / "06_adversarial_l1"))
from arguments import positive
from json_lines import append_line, read_lines
from l1_images import load_digits_8x8, pick, train_classifier

PACKAGES = ("omlt-ext", "highspy", "scikit-learn", "numpy")
RADII = {"inf": (0.04, 0.06, 0.08, 0.1), "1": (0.5, 1.0)}
KEY = ("digest", "image", "method", "norm", "radius", "limit")


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description="Robustness of a digit classifier, verified image by image.")
    parser.add_argument("--small", action="store_true", help="six images and a small network: some seconds")
    parser.add_argument("--norm", choices=tuple(RADII), default="inf", help="the largest change of a pixel, or the sum")
    parser.add_argument("--radius", type=positive(float), nargs="+", help="of the balls, in ink (0.04 to 0.1)")
    parser.add_argument("--images", type=positive(int), help="how many (100)")
    parser.add_argument("--milp", type=int, metavar="N", help="judge the first N images by MILPs as well (5)")
    parser.add_argument("--time-limit", type=positive(float), default=10.0, help="seconds for each ball (10)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "out", help="folder of records and results")
    options = parser.parse_args(arguments)
    compared = (2 if options.small else 5) if options.milp is None else max(0, options.milp)
    hidden, epochs = ((10, 10), 100) if options.small else ((100, 100), 400)

    images = load_digits_8x8()
    network, accuracy = train_classifier(images, hidden, epochs, 0)
    chosen = pick(images, network, options.images or (6 if options.small else 100))
    radii = sorted(set(options.radius or RADII[options.norm]))
    tasks = [(image, radius, "verify") for radius in radii for image in chosen]
    tasks += [(image, radius, "milp") for radius in radii for image in chosen[:compared]]
    setting = {"digest": digest(network), "norm": options.norm}

    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "verdicts.jsonl"
    done = {tuple(row[name] for name in KEY): row for row in read_lines(path, KEY)}
    rows: list[dict[str, Any]] = []
    try:
        for image, radius, method in tqdm(tasks, unit="ball"):
            known = done.get((setting["digest"], image, method, options.norm, radius, options.time_limit))
            row = known or {"image": image, **setting, "radius": radius}
            if known is None:
                row |= judge(network, images.x_test[image], radius, options.norm, method, options.time_limit)
            check(row, rows)
            if known is None:
                append_line(path, row)
            rows.append(row)
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
    if not rows:
        return {}
    report: dict[str, Any] = {"date": str(date.today()), "cores": os.cpu_count(), "norm": options.norm}
    report |= {"images": len(chosen), "network": repr(network), "accuracy": accuracy, "limit s": options.time_limit}
    report |= {"versions": {name: version(name) for name in PACKAGES}}
    (options.out / "machine.json").write_text(json.dumps(report, indent=1) + "\n")
    made = tables(rows)
    for name, table in made.items():
        table.to_csv(options.out / f"{name}.csv", index=False, float_format="%.4g")
    print(text(report, made))
    draw(rows, {image: images.x_test[image].tolist() for image in chosen}, options.out)
    return report | {"rows": rows}


def check(row: dict[str, Any], others: list[dict[str, Any]]) -> None:
    """`RuntimeError` where another run proves a ball that holds this one's counterexample, or the other way round."""
    for other in others:
        sat, unsat = sorted((row, other), key=lambda one: one["verdict"])
        verdicts = sat["verdict"], unsat["verdict"]
        if row["image"] == other["image"] and verdicts == ("sat", "unsat") and sat["radius"] <= unsat["radius"]:
            balls = f"{sat['radius']}, says {sat['method']}, but none within {unsat['radius']}, says {unsat['method']}"
            raise RuntimeError(f"image {row['image']} has a counterexample within {balls}")


if __name__ == "__main__":
    main()
