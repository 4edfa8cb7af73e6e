"""Properties of a competition: verdicts that agree with those on which several tools agree, in seconds each."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import pytest

from omlt_ext import load_network
from omlt_ext.cli import main
from omlt_ext.verification import read_vnnlib, verify
from omlt_ext.verification.original import original_of

pytestmark = pytest.mark.outside

DATA = Path(os.environ.get("OMLT_EXT_OUTSIDE_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
FOLDER = DATA / "verification"
TABLE = FOLDER / "verdicts.csv"
LIMIT = 60.0
QUICK = {  # of each family some that take a second or less, both verdicts where there are both
    "acasxu": [
        "1_4_batch_2000.onnx acasxu/prop_2",
        "1_4_batch_2000.onnx acasxu/prop_3",
        "1_2_batch_2000.onnx acasxu/prop_4",
    ],
    "linearizenn": ["prop_10_10_1"],
    "mnistfc": ["prop_1_0.05", "prop_2_0.03", "prop_4_0.05"],
    "reach_prob_density": ["gcas_2", "gcas_11", "vdp_11", "robot_1"],
    "rl_benchmarks": ["cartpole_case_unsafe_26", "lunarlander_case_safe_14", "dubinsrejoin_case_unsafe_68"],
    "safenlp": ["hyperrectangle_2144", "hyperrectangle_327", "hyperrectangle_6277"],
    "tllverifybench": ["property_N=8_3"],
}

if not TABLE.exists():
    pytest.skip(f"there are no properties under {FOLDER}", allow_module_level=True)

with TABLE.open(encoding="utf-8", newline="") as file:
    ROWS = [(row["net"], row["property"], row["verdict"]) for row in csv.DictReader(file)]
CHOSEN = [
    row for row in ROWS if any(f"{row[0]} {row[1]}".endswith(f"{end}.vnnlib") for end in QUICK[row[0].split("/")[0]])
]


def test_every_family_is_there():
    assert {net.split("/")[0] for net, _, _ in CHOSEN} == {net.split("/")[0] for net, _, _ in ROWS} == set(QUICK)
    assert {verdict for _, _, verdict in CHOSEN} == {"sat", "unsat"}


@pytest.mark.parametrize(("net", "name", "verdict"), CHOSEN)
def test_the_verdict_is_the_recorded_one(net, name, verdict):
    found = verify(FOLDER / net, FOLDER / name, time_limit=LIMIT)
    assert found.verdict == verdict
    if found.counterexample is not None:
        x, y = found.counterexample.x, found.counterexample.y
        property = read_vnnlib(FOLDER / name)
        assert property.violated(x, y)
        assert original_of(FOLDER / net)(x) == pytest.approx(y, abs=0)
        assert load_network(FOLDER / net)(x) == pytest.approx(y, rel=1e-4, abs=1e-4)
    else:
        assert found.bound < 0


def test_the_command_line_says_the_same(capsys):
    for net, name, verdict in CHOSEN[:2]:
        code = main(["verify", str(FOLDER / net), str(FOLDER / name), "--timeout", str(LIMIT), "--json"])
        assert code == {"unsat": 0, "sat": 10}[verdict]
        assert json.loads(capsys.readouterr().out)["verdict"] == verdict
