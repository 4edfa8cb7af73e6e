"""`.nnet` files, against an evaluator that reads the text itself."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from omlt_ext.errors import OmltExtError, ReadError
from omlt_ext.readers.nnet import read_nnet


def write(sizes: list[int], seed: int = 0, *, comma: str = ",") -> str:
    """A random network as text."""
    rng = np.random.default_rng(seed)

    def line(values) -> str:
        return ",".join(f"{v!r}" for v in np.asarray(values).tolist()) + comma

    n = sizes[0]
    lower = rng.normal(size=n)
    lines = ["// a comment", "// and another", line([len(sizes) - 1, n, sizes[-1], max(sizes)]), line(sizes), line([0])]
    lines += [line(lower), line(lower + rng.random(n)), line(rng.normal(size=n + 1)), line(0.5 + rng.random(n + 1))]
    for m, k in itertools.pairwise(sizes):
        lines += [line(row) for row in rng.normal(size=(k, m))]
        lines += [line([b]) for b in rng.normal(size=k)]
    return "\n".join(lines) + "\n"


def evaluate(text: str, x: np.ndarray) -> np.ndarray:
    """The network at one point, number by number as the text lists them."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("//")]
    rows = [[float(v) for v in line.split(",") if v] for line in lines]
    sizes = [int(v) for v in rows[1]]
    means, ranges = rows[5], rows[6]
    h = [(v - m) / r for v, m, r in zip(x, means, ranges, strict=False)]
    at = 7
    for k, size in enumerate(sizes[1:], start=1):
        z = [sum(w * v for w, v in zip(rows[at + i], h, strict=True)) + rows[at + size + i][0] for i in range(size)]
        h = [max(v, 0.0) for v in z] if k < len(sizes) - 1 else z
        at += 2 * size
    return np.array([v * ranges[-1] + means[-1] for v in h])


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.lists(st.integers(1, 5), min_size=2, max_size=5),
    seed=st.integers(0, 999),
    comma=st.sampled_from([",", ""]),
)
def test_scaling_is_folded_and_the_box_is_in_raw_units(tmp_path, sizes, seed, comma):
    text = write(sizes, seed, comma=comma)
    path = tmp_path / "net.nnet"
    path.write_text(text)
    network = read_nnet(path)
    assert (network.n_inputs, network.n_outputs, len(network.layers)) == (sizes[0], sizes[-1], len(sizes) - 1)
    numbers = [line.rstrip(",").split(",") for line in text.splitlines()]
    assert network.input_box.lower.tolist() == [float(v) for v in numbers[5]]
    assert network.input_box.upper.tolist() == [float(v) for v in numbers[6]]
    for x in network.input_box.sample(5, np.random.default_rng(seed)):
        np.testing.assert_allclose(network(x), evaluate(text, x), rtol=1e-9, atol=1e-9)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_shortened_or_changed_file_is_refused_or_read_as_its_text_says(tmp_path, data):
    text = write([2, 3, 1], 5)
    at = data.draw(st.integers(0, len(text) - 1))
    cut = data.draw(st.integers(0, 6))
    damaged = text[:at] + data.draw(st.sampled_from(["", "x", ",", "\n", "9", "-", "nan"])) + text[at + cut :]
    path = tmp_path / "net.nnet"
    path.write_text(damaged)
    try:
        network = read_nnet(path)
    except OmltExtError:
        return
    x = np.linspace(-1, 1, network.n_inputs)
    np.testing.assert_allclose(network(x), evaluate(damaged, x), rtol=1e-7, atol=1e-7)


def replaced(number: int, line: str) -> str:
    lines = write([2, 3, 1]).splitlines()
    lines[number - 1] = line
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("// only a comment\n", "line 2: the file ends where the numbers of layers"),
        ("\n".join(write([2, 3, 1]).splitlines()[:-1]), "line 17: the file ends where the bias 0 of layer 2"),
        (replaced(10, "1.0,zwei,"), "line 10: 'zwei' is not a number"),
        (replaced(10, "1.0,"), "line 10: expected the row 0 of the weight of layer 1, 2 numbers, found 1"),
        (replaced(10, "1.0,2.0,3.0"), "line 10: .* 2 numbers, found 3"),
        (replaced(10, "1.0,nan"), "line 10: .* not a number"),
        (replaced(10, "1.0,inf"), "line 10: .* not finite"),
        (replaced(10, "1_0,2"), "line 10: .* not a number"),
        (replaced(3, "2,3,1,3"), "line 4: the layer sizes say 2 inputs and 1 outputs, line 3 says 3 and 1"),
        (replaced(3, "1,2,1,3"), "line 4: 3 layer sizes for 1 layers; 2 expected"),
        (replaced(3, "2.5,2,1,3"), "line 3: 2.5 is not a number of layers"),
        (replaced(4, "2,-3,1"), "line 4: -3 is not a number of layers or neurons"),
        (replaced(4, "2,4,1"), "line 13: expected the row 3 of the weight of layer 1, 2 numbers, found 1"),
        (replaced(9, "1,0,1"), "line 9: the range of input 1 is 0"),
        (replaced(9, "1,1"), "line 9: expected the ranges of the inputs and of the outputs, 3 numbers"),
        (replaced(9, "1,1,2,3"), "line 9: several ranges for the outputs"),
        (replaced(7, "-99,-99"), "line 7: input 0: the largest value -99.0 lies below"),
        (write([2, 3, 1]) + "1.0,\n", "line 18: numbers after the last layer"),
    ],
)
def test_errors_name_the_line(tmp_path, text, message):
    path = tmp_path / "net.nnet"
    path.write_text(text)
    with pytest.raises(ReadError, match=message):
        read_nnet(path)


def test_extra_values_for_the_outputs_and_infinite_limits(tmp_path):
    path = tmp_path / "net.nnet"
    path.write_text(replaced(6, "-1,-1,-5").replace("// a comment", "// \xe9, a comment"))
    assert read_nnet(path).input_box.lower.tolist() == [-1, -1]
    path.write_text(replaced(6, "-inf,-1"))
    assert read_nnet(path).input_box is None
    path.write_bytes(b"\x00\xff\xfe")
    with pytest.raises(ReadError, match="line 1"):
        read_nnet(path)
