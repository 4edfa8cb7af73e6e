"""The case studies of verification run as their READMEs say, resume, and refuse verdicts that contradict each other."""

from __future__ import annotations

import doctest
import gzip
import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from studies import STUDIES, is_png, load

from omlt_ext.errors import ReadError


@pytest.fixture
def digits(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    pytest.importorskip("sklearn")
    return load("09_digits_robustness", monkeypatch)


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return load("10_verification_files", monkeypatch)


def neighbour(name: str) -> ModuleType:
    """A module of `case_studies/` itself."""
    spec = importlib.util.spec_from_file_location(f"case_study_{name}", STUDIES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_digits_are_settled_and_their_counterexamples_are_some(digits: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    report = digits.main(["--small", "--radius", "0.04", "0.1", "--out", str(tmp_path)])
    rows = report["rows"]
    assert rows == lines_of(tmp_path / "verdicts.jsonl")
    assert len(rows) == 2 * 6 + 2 * 2
    assert {row["verdict"] for row in rows if row["method"] == "verify"} == {"sat", "unsat"}  # mixed, none left open
    images = digits.load_digits_8x8()
    network, _ = digits.train_classifier(images, (10, 10), 100, 0)
    for row in rows:
        before = images.x_test[row["image"]]
        assert network(before).argmax() == row["digit"] == images.y_test[row["image"]]
        if row["verdict"] != "sat":
            assert row["after"] is None
            continue
        after = np.array(row["after"])
        assert np.abs(after - before).max() <= row["radius"] * (1 + 1e-9)
        assert after.min() >= 0.0
        assert after.max() <= 1.0
        logits = network(after)
        assert row["reads"] != row["digit"]
        assert logits[row["reads"]] - logits[row["digit"]] == row["margin"] >= 0.0
    assert is_png(tmp_path / "counterexamples.png")
    assert is_png(tmp_path / "cactus.png")
    before_again = (tmp_path / "verdicts.jsonl").read_bytes()
    (tmp_path / "verdicts.jsonl").write_bytes(before_again + before_again[:40])  # killed while it wrote
    digits.main(["--small", "--radius", "0.04", "0.1", "--out", str(tmp_path)])
    assert (tmp_path / "verdicts.jsonl").read_bytes() == before_again  # nothing was left to do


def test_digits_in_l1_balls(digits: ModuleType, tmp_path: Path) -> None:
    arguments = ["--small", "--norm", "1", "--radius", "2", "--images", "3", "--milp", "1", "--out", str(tmp_path)]
    rows = digits.main(arguments)["rows"]
    images = digits.load_digits_8x8()
    found = [row for row in rows if row["verdict"] == "sat"]
    assert found
    for row in found:
        assert np.abs(np.array(row["after"]) - images.x_test[row["image"]]).sum() <= 2.0 * (1 + 1e-9)


def test_an_interrupted_run_of_digits_goes_on(
    digits: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--small", "--radius", "0.05", "--images", "2", "--milp", "0", "--out", str(tmp_path)]
    with monkeypatch.context() as patch:
        patch.setattr(digits, "judge", interrupted)
        assert digits.main(arguments) == {}
    assert "goes on from here" in capsys.readouterr().err
    assert len(digits.main(arguments)["rows"]) == 2


def test_balls_that_contradict_each_other_are_refused(digits: ModuleType) -> None:
    proved = {"image": 3, "radius": 0.1, "method": "verify", "verdict": "unsat"}
    found = {"image": 3, "radius": 0.05, "method": "milp", "verdict": "sat"}
    with pytest.raises(
        RuntimeError, match=r"image 3 has a counterexample within 0\.05, says milp, but none within 0\.1"
    ):
        digits.check(found, [proved])
    with pytest.raises(RuntimeError, match="image 3"):
        digits.check(proved, [found])
    digits.check(found | {"radius": 0.2}, [proved])
    digits.check(found | {"image": 4}, [proved])
    digits.check(found | {"verdict": "unknown"}, [proved])


def test_a_counterexample_that_is_none_is_refused(digits: ModuleType) -> None:
    images = digits.load_digits_8x8()
    network, _ = digits.train_classifier(images, (6,), 30, 0)
    image = images.x_test[digits.pick(images, network, 1)[0]]
    module = sys.modules["digit_verdicts"]
    unsafe = module.robustness(network, image, 0.05, within=(0, 1))
    with pytest.raises(RuntimeError, match="no counterexample"):
        module.seen(network, image, unsafe, image, 0.05, "inf")


def test_files_get_the_verdicts_recorded_for_them(files: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    rows = files.main(["--small", "--out", str(tmp_path)])["rows"]
    assert [row["family"] for row in rows] == [name for name in ("narrow", "wide", "deep") for _ in range(3)]
    for row in rows:
        assert row["verdict"] in ("sat", "unsat")
        assert row["recorded"] in (None, row["verdict"])
    assert sum(row["recorded"] is None for row in rows) == 3
    written = {path.stem for path in (tmp_path / "counterexamples").iterdir()}
    assert written == {row["digest"] for row in rows if row["verdict"] == "sat"}
    assert is_png(tmp_path / "cactus.png")
    before = (tmp_path / "verdicts.jsonl").read_text()
    files.main(["--small", "--out", str(tmp_path)])
    assert (tmp_path / "verdicts.jsonl").read_text() == before  # the same files are not judged again


def test_a_contradiction_ends_the_study(files: ModuleType, tmp_path: Path) -> None:
    files.main(["--small", "--out", str(tmp_path)])
    liar = tmp_path / "files" / "liar.csv"
    liar.write_text("net,property,verdict\nwide/net.onnx,wide/sat.vnnlib,unsat\n")
    for out in (tmp_path, tmp_path / "fresh"):  # from the journal, and judged anew
        with pytest.raises(RuntimeError, match=r"sat\.vnnlib: 'sat' contradicts the recorded verdict, 'unsat'"):
            files.main([str(liar), "--out", str(out)])


def test_an_interrupted_run_of_files_goes_on(
    files: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(files, "judge", interrupted)
        assert files.main(["--small", "--out", str(tmp_path)]) == {}
    assert "goes on from here" in capsys.readouterr().err
    assert len(files.main(["--small", "--out", str(tmp_path)])["rows"]) == 9


def test_lists_in_all_their_forms(files: ModuleType, tmp_path: Path) -> None:
    module = sys.modules["instances"]
    files.write_toys(tmp_path / "wide_of_files")
    folder = tmp_path / "wide_of_files"
    assert [one.recorded for one in module.read_instances([folder])] == ["sat", "unsat", None] * 3
    packed = folder / "wide" / "packed.vnnlib.gz"
    packed.write_bytes(gzip.compress((folder / "wide" / "sat.vnnlib").read_bytes()))
    (folder / "timed.csv").write_text("wide/net.onnx,wide/packed.vnnlib,116\n\n./wide/net.onnx, wide/sat.vnnlib\n")
    one, other = module.read_instances([folder / "timed.csv"])
    assert (one.family, one.unsafe, one.recorded) == ("wide", packed, None)
    assert (other.family, other.unsafe.name) == ("wide", "sat.vnnlib")
    (folder / "wide" / "own.csv").write_text("result,vnnlib,onnx\nviolated,sat.vnnlib,net.onnx\n")
    (only,) = module.read_instances([folder / "wide" / "own.csv"])
    assert (only.family, only.recorded) == ("wide", "sat")
    pair = module.read_instances([folder / "wide" / "net.onnx", packed, folder / "wide" / "sat.vnnlib"])
    assert [part.unsafe.name for part in pair] == ["packed.vnnlib.gz", "sat.vnnlib"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it lists nothing"),
        ("net,property\n", "it lists nothing"),
        ("wide/net.onnx,wide/sat.vnnlib,maybe\n", "line 1: 'maybe' is no verdict"),
        ("net,property\nwide/net.onnx\n", "line 2: a line needs a network and a property"),
        ("wide/net.onnx,wide/none.vnnlib\n", "line 1: the property .* is no file"),
        ("other.onnx,wide/sat.vnnlib\n", "line 1: the network .* is no file"),
    ],
)
def test_lists_that_cannot_be_read(files: ModuleType, tmp_path: Path, text: str, message: str) -> None:
    files.write_toys(tmp_path)
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(ReadError, match=message):
        sys.modules["instances"].read_instances([tmp_path / "bad.csv"])
    with pytest.raises(SystemExit, match="error: "):
        files.main([str(tmp_path / "bad.csv"), "--out", str(tmp_path / "out")])


@pytest.mark.parametrize("study", ["09_digits_robustness", "10_verification_files"])
def test_pages_hold_the_recorded_tables(study: str, tmp_path: Path) -> None:
    """`pages.py` has nothing to change in the README, and every table it marks is there."""
    text = (STUDIES / study / "README.md").read_text()
    page = tmp_path / "README.md"
    page.write_text(re.sub(r"(<!-- table: \w+ -->\n).*?(<!-- end -->)", r"\1\2", text, flags=re.DOTALL))
    assert page.read_text().count("<!-- table") >= 2
    neighbour("pages").refresh(STUDIES / study / "results", page)
    assert page.read_text() == text


def test_summaries_as_their_docstring_says() -> None:
    assert doctest.testmod(neighbour("verdicts")).failed == 0
