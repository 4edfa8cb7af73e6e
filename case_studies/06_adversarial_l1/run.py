"""Adversarial images within an l1 budget: every search of the package against HiGHS, on whole Pyomo models.

    python case_studies/06_adversarial_l1/run.py [--small] [--mnist FOLDER] [--delta D] [--images N] [--time-limit S]

What the images mean, and what came out, is in the README beside this file.
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

from l1_attack import METHODS, attack, classes
from l1_images import load_digits_8x8, load_mnist, pick, train_classifier
from l1_report import draw, frame, methods, text
from tqdm.auto import tqdm

PACKAGES = ("omlt-ext", "pyomo", "highspy", "scikit-learn", "numpy")
FORMS = (*METHODS, "auto, folded")
KEY = ("image", "method", "limit", "delta", "hidden")


def read(path: Path) -> list[dict[str, Any]]:
    """The attacks of a run before this one; a last line that was cut off is left out."""
    if not path.exists():
        return []
    whole, newline, _ = path.read_text().rpartition("\n")
    path.write_text(whole + newline)
    return [json.loads(line) for line in whole.splitlines()]


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description="The worst image within an l1 budget, by every search.")
    parser.add_argument("--small", action="store_true", help="two images and a small network: some seconds")
    parser.add_argument("--mnist", type=Path, metavar="FILE", help="MNIST as an .npz or a folder of idx files")
    parser.add_argument("--delta", type=float, help="ink that may be moved in all (1 for digits, 5 for MNIST)")
    parser.add_argument("--images", type=int, help="how many (10)")
    parser.add_argument("--time-limit", type=float, help="seconds of each search (5; 60 for MNIST)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "out", help="folder of records and results")
    options = parser.parse_args(arguments)

    images = load_mnist(options.mnist) if options.mnist else load_digits_8x8()
    hidden, epochs, delta, limit = ((500, 500), 10, 5.0, 60.0) if options.mnist else ((50, 50), 400, 1.0, 5.0)
    if options.small:
        hidden, epochs, limit = (8, 8), 60, 0.5
    delta, limit = options.delta or delta, options.time_limit or limit
    network, accuracy = train_classifier(images, hidden, epochs, 0)
    chosen = pick(images, network, options.images or (2 if options.small else 10))

    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "attacks.jsonl"
    setting = {"delta": delta, "hidden": "-".join(map(str, hidden))}
    done = {tuple(row[name] for name in KEY): row for row in read(path)}
    rows = []
    try:
        for image, method in tqdm([(image, method) for image in chosen for method in FORMS], unit="search"):
            key = (image, method, limit, *setting.values())
            if key not in done:
                right, wrong = classes(network, images.x_test[image])
                row = {"image": image, "digit": right, "second": wrong, **setting}
                row |= attack(network, images.x_test[image], delta, method, limit, image)
                with path.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                done[key] = row
            rows.append(done[key])
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
    if not rows:
        return {}
    report: dict[str, Any] = {"date": str(date.today()), "cores": os.cpu_count(), "data": images.name, **setting}
    report |= {"network": repr(network), "accuracy": accuracy, "seconds a search": limit}
    report |= {"versions": {name: version(name) for name in PACKAGES}}
    (options.out / "machine.json").write_text(json.dumps(report, indent=1) + "\n")
    methods(frame(rows)).to_csv(options.out / "methods.csv", index=False, float_format="%.6g")
    print(text(report, rows))
    draw(rows, {i: images.x_test[i].tolist() for i in chosen if any(row["image"] == i for row in rows)}, options.out)
    return report | {"rows": rows}


if __name__ == "__main__":
    main()
