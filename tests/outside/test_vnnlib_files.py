"""VNN-LIB files of a competition: each parses, and says of its network what the network's own evaluator says."""

from __future__ import annotations

import csv
import os
import re
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest

from omlt_ext import load_network
from omlt_ext.readers.onnx_reference import CORRECTED
from omlt_ext.verification import confirm, parse_vnnlib, read_vnnlib, write_vnnlib
from omlt_ext.verification.original import original_of

pytestmark = pytest.mark.outside

DATA = Path(os.environ.get("OMLT_EXT_OUTSIDE_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
FOLDER = DATA / "verification"
TABLE = FOLDER / "verdicts.csv"

if not TABLE.exists():
    pytest.skip(f"there are no properties under {FOLDER}", allow_module_level=True)

with TABLE.open(encoding="utf-8", newline="") as file:
    PAIRS = [(row["net"], row["property"], row["verdict"]) for row in csv.DictReader(file)]
FILES = sorted(str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*.vnnlib*"))

network_of = cache(lambda name: load_network(FOLDER / name))
source_of = cache(lambda name: original_of(FOLDER / name))


@pytest.mark.parametrize("name", FILES)
def test_every_file_parses(name):
    property, text = read_vnnlib(FOLDER / name), (FOLDER / name).read_text(encoding="utf-8")
    assert property.n_inputs == len(re.findall(r"declare-const X_", text))
    assert property.n_outputs == len(re.findall(r"declare-const Y_", text))
    body = text[text.rindex("declare-const") :]
    plain = re.sub(r";.*", "", body)
    assert len(property.disjuncts) == max(1, plain.count("(and"))  # this collection's way to write a disjunction
    comparisons = len(re.findall(r"\((?:<=|>=)", plain))
    rows = sum(disjunct.n_rows for disjunct in property.disjuncts)
    assert rows + 2 * property.n_inputs == comparisons
    again = parse_vnnlib(write_vnnlib(property))
    assert write_vnnlib(again) == write_vnnlib(property)


@pytest.mark.parametrize(("net", "name"), sorted({(net, name) for net, name, _ in PAIRS}))
def test_every_property_fits_its_network(net, name):
    read_vnnlib(FOLDER / name).check(network_of(net))


def test_sampled_points_violate_only_what_is_sat_and_both_evaluators_agree():
    rng, found = np.random.default_rng(0), set()
    reference = cache(lambda net: onnx.reference.ReferenceEvaluator(onnx.load(FOLDER / net), new_ops=CORRECTED))
    compared = {True: 0, False: 0}
    for net, name, verdict in PAIRS:
        property, network = read_vnnlib(FOLDER / name), network_of(net)
        evaluator = reference(net)
        shape = [max(d.dim_value, 1) for d in evaluator.input_types_[-1].tensor_type.shape.dim]
        for disjunct in property.disjuncts[:3]:
            x = disjunct.box.sample(200, rng)
            x = np.clip(x.astype(np.float32).astype(np.float64), disjunct.box.lower, disjunct.box.upper)
            y = network(x)
            slack = (disjunct.g - x @ disjunct.Gx.T - y @ disjunct.Gy.T).min(axis=1)
            best = int(np.argmax(slack))
            (theirs,) = evaluator.run(None, {evaluator.input_names[-1]: x[best].astype(np.float32).reshape(shape)})
            if abs(slack[best]) > 1e-4:  # farther from the border than single precision rounds
                assert property.violated(x[best], y[best]) == property.violated(x[best], np.ravel(theirs))
                compared[property.violated(x[best], y[best])] += 1
            candidate = confirm(source_of(net), property, x[best])
            if candidate is not None:
                found.add((net, name))
                assert verdict == "sat", f"{name} is {verdict}, but {candidate.to_vnnlib()}"
    assert len(found) >= 12  # of the 31 that are sat
    assert min(compared.values()) >= 12
