"""`omlt-ext prune`: a file in, a sparse file and a report out."""

import json

import numpy as np
import pytest
from search_problems import dense_network

from omlt_ext import load_network
from omlt_ext.cli import main


@pytest.fixture
def files(tmp_path):
    """A network of three classes and samples of them."""
    network = dense_network((4, 10, 8, 3), 5)
    network.save(tmp_path / "net.onnx")
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 4))
    np.savez(tmp_path / "data.npz", X=X, y=network(X).argmax(axis=1))
    return tmp_path


@pytest.mark.parametrize("method", ["magnitude", "gradient", "undecayed", "cbs", "neurons"])
def test_a_sparse_copy_is_written_and_reported(files, capsys, method):
    out = files / "sparse.onnx"
    arguments = ["prune", str(files / "net.onnx"), "--method", method, "--sparsity", "0.5", "--json"]
    assert main([*arguments, "--data", str(files / "data.npz"), "-o", str(out)]) == 0
    report = json.loads(capsys.readouterr().out)
    copy = load_network(out)
    assert report["output"] == str(out)
    assert report["sparsity"] == 0.5
    assert 0.0 <= report["accuracy_after"] <= report["accuracy_before"] == 1.0
    assert len(report["recall_before"]) == 3
    kept = sum(layer.nnz for layer in copy.layers)
    assert 0 < kept <= 4 * 10 + 10 * 8 + 8 * 3 - (72 if method != "neurons" else 1)


def test_without_json_a_table_is_printed(files, capsys):
    assert main(["prune", str(files / "net.onnx"), "--sparsity", "0.75", "--densities", "regions"]) == 0
    text = capsys.readouterr().out
    assert "Magnitude()" in text
    assert "layer" in text


def test_steps_finetuning_and_densities(files, capsys):
    arguments = ["prune", str(files / "net.onnx"), "--data", str(files / "data.npz"), "--json", "--steps", "2"]
    assert main([*arguments, "--finetune", "2", "--densities", "0.5,0.5,1", "--seed", "3"]) == 0
    first = capsys.readouterr().out
    assert main([*arguments, "--finetune", "2", "--densities", "0.5,0.5,1", "--seed", "3"]) == 0
    assert capsys.readouterr().out == first


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--sparsity", "2"], "sparsity is 2.0"),
        (["--method", "scissors"], "unknown pruning method 'scissors'"),
        (["--method", "cbs"], "learns from samples; give data"),
        (["--finetune", "2"], "finetune learns from samples"),
        (["--data", "nowhere.npz"], "cannot read the data in nowhere.npz"),
        (["--densities", "1,2"], "densities has shape (2,)"),
        (["--densities", "few"], "densities is 'few'"),
        (["--densities", "1,x,1"], "it must be 'regions', or a share for each layer"),
        (["--steps", "0"], "steps is 0"),
        (["-o", "out.txt"], "choose one of the suffixes .onnx"),
        (["-o", "nowhere/out.onnx"], "does not exist"),
    ],
)
def test_errors_are_one_line(files, capsys, arguments, says):
    assert main(["prune", str(files / "net.onnx"), *arguments]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("omlt-ext: error: ")
    assert captured.err.count("\n") == 1
    assert says in captured.err
