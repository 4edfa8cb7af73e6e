"""VNN-LIB: what a formula means, in any form it can be written; every other text is refused with its line."""

from __future__ import annotations

import gzip
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omlt_ext import Box
from omlt_ext.domain import Polytope
from omlt_ext.errors import OptionError, ReadError
from omlt_ext.verification import Disjunct, Property, parse_vnnlib, read_vnnlib, robustness, write_vnnlib
from omlt_ext.verification import formula as formulas

HEAD = "(declare-const X_0 Real)\n(declare-const X_1 Real)\n(declare-const Y_0 Real)\n(declare-const Y_1 Real)\n"
BOX = "(assert (<= X_0 1)) (assert (>= X_0 -1.0)) (assert (<= X_1 1e0)) (assert (>= X_1 (- 1)))\n"


def parse(*asserts: str) -> Property:
    return parse_vnnlib(HEAD + BOX + "\n".join(f"(assert {text})" for text in asserts))


def rows(text: str) -> list[tuple[list[float], list[float], float]]:
    (only,) = parse(text).disjuncts
    return [(x.tolist(), y.tolist(), g) for x, y, g in zip(only.Gx, only.Gy, only.g.tolist(), strict=True)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(<= Y_0 Y_1)", [([0, 0], [1, -1], 0)]),
        ("(>= Y_0 Y_1)", [([0, 0], [-1, 1], 0)]),
        ("(>= Y_0 -2.5e-1)", [([0, 0], [-1, 0], 0.25)]),
        ("(<= 3 Y_0)", [([0, 0], [-1, 0], -3)]),
        ("(<= (+ Y_0 X_1) (* 2.0 X_0))", [([-2, 1], [1, 0], 0)]),
        ("(<= (- Y_0 X_1 3) 0)", [([0, -1], [1, 0], 3)]),
        ("(<= (* (+ Y_0 1) 2) (- X_0))", [([1, 0], [2, 0], -2)]),
        ("(<= (* 2 3 Y_1) (/ X_0 4))", [([-0.25, 0], [0, 6], 0)]),
        ("(= Y_0 1)", [([0, 0], [1, 0], 1), ([0, 0], [-1, 0], -1)]),
        ("(<= 0 Y_0 1)", [([0, 0], [-1, 0], 0), ([0, 0], [1, 0], 1)]),
        ("(and (<= Y_0 1) (and (<= Y_1 2)))", [([0, 0], [1, 0], 1), ([0, 0], [0, 1], 2)]),
        ("(or (<= Y_0 1))", [([0, 0], [1, 0], 1)]),
        ("(<= (+ Y_0 0.1 0.2) (+ 0.1 0.2))", [([0, 0], [1, 0], 0)]),  # numbers are added exactly
        ("(<= (+ Y_0 Y_1) (+ Y_1 (* 0 X_0) 1))", [([0, 0], [1, 0], 1)]),
    ],
)
def test_rows_as_on_paper(text, expected):
    assert rows(text) == expected


def test_bounds_become_a_box_and_rows_over_inputs_a_polytope():
    (only,) = parse("(>= X_0 0.25)", "(<= (* -2 X_1) 1)", "(<= (+ X_0 X_1) 1.5)", "(>= Y_0 0)").disjuncts
    assert isinstance(only.domain, Polytope)
    assert only.box.lower.tolist() == [0.25, -0.5]
    assert only.box.upper.tolist() == [1, 1]
    assert (only.domain.A.tolist(), only.domain.b.tolist()) == ([[1, 1]], [1.5])
    assert only.n_rows == 1


def test_a_bound_that_is_no_double_is_widened_and_kept_as_a_row():
    (only,) = parse("(<= (* 3 X_0) 1)", "(>= (* -3 X_1) 1)", "(<= Y_0 9)").disjuncts
    assert only.box.upper[0] >= 1 / 3
    assert only.box.lower[0] == -1
    assert isinstance(only.domain, Polytope)
    assert only.domain.A.tolist() == [[3, 0], [0, 3]]
    third = 0.333333333333333314829616256247  # the double below 1/3
    assert only.holds([third, -0.5], [0, 0])
    assert not only.holds([np.nextafter(third, 1), -0.5], [0, 0])


def test_strict_comparisons_are_taken_at_their_word():
    property = parse("(< Y_0 1)", "(> X_0 0)")
    (only,) = property.disjuncts
    assert only.box.lower.tolist() == [0, -1]  # closed: what a search proves
    assert not isinstance(only.domain, Polytope)
    assert only.strict.all()
    assert only.n_rows == 2
    assert property.violated([1e-300, 0], [0.5, 0])
    assert not property.violated([0, 0], [0.5, 0])
    assert not property.violated([0.5, 0], [1, 0])


def test_disjunctions_over_inputs_and_outputs_multiply():
    property = parse(
        "(or (and (<= X_0 0) (<= Y_0 1)) (and (>= X_0 0.5) (<= Y_0 2)))",
        "(or (>= Y_1 7) (<= X_0 -0.5) (>= X_0 0.75))",
    )
    found = [(d.box.lower[0], d.box.upper[0], d.n_rows) for d in property.disjuncts]
    assert found == [(-1, 0, 2), (-1, -0.5, 1), (0.5, 1, 2), (0.75, 1, 1)]  # the contradictory ones are left out


def test_what_cases_share_is_kept_once():
    property = parse("(or (<= Y_0 1) (<= Y_1 1) (>= Y_0 9))", "(>= Y_0 Y_1)")
    assert len({id(disjunct.box) for disjunct in property.disjuncts}) == 1
    both = parse("(or (<= X_0 0) (>= X_0 0.5))", "(or (<= Y_0 1) (<= Y_1 1) (>= Y_0 9))")
    assert len(both.disjuncts) == 6
    assert len({id(disjunct.box) for disjunct in both.disjuncts}) == 2
    assert len({id(disjunct.Gy) for disjunct in both.disjuncts}) == 3


def test_looser_bounds_of_a_case_do_not_widen_the_box():
    (first, _) = parse("(or (and (>= X_0 -3) (<= X_0 4)) (>= Y_0 1))").disjuncts
    assert (first.box.lower[0], first.box.upper[0]) == (-1, 1)


@pytest.mark.parametrize(
    "text", ["(<= 2 1)", "(>= X_0 2)", "(or)", "(and (<= X_0 0) (>= X_0 1))", "(or (< 1 1) (> X_1 3))"]
)
def test_a_contradiction_has_no_counterexample(text):
    property = parse(text)
    assert property.disjuncts == ()
    assert (property.n_inputs, property.n_outputs) == (2, 2)


def test_a_truth_says_nothing():
    (only,) = parse("(<= 1 1)", "(and)", "(or (<= 0 Y_0) (and))").disjuncts[-1:]
    assert only.n_rows == 0


SCRIPT = '(set-logic QF_LRA)\n(set-info :status |not (known|)\n(set-info :source "a (b")\n(set-option :x (a (b)))\n'


def test_commands_of_a_solver_session_and_comments_are_passed_over():
    text = "\ufeff; (assert (<= Y_0 1)\n" + SCRIPT + HEAD.replace("-const Y_1", "-fun Y_1 ()") + BOX
    text += "(assert (>= ; here\n Y_0 ; and there )\n 1))\n(check-sat)(get-value (X_0))\n(exit) ; end"
    (only,) = parse_vnnlib(text.removeprefix("\ufeff")).disjuncts
    assert (only.Gy.tolist(), only.g.tolist()) == ([[-1, 0]], [-1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "declares no inputs"),
        ("(declare-const X_0 Real)", "declares no outputs"),
        ("(declare-const X_0 Real)\n(declare-const X_2 Real)\n(declare-const Y_0 Real)", "declares X_2, but not X_1"),
        ("(declare-const X_0 Real)\n(declare-const X_0 Real)", "line 2: 'X_0' is declared twice"),
        ("(declare-const Z_0 Real)", "line 1: 'Z_0' is no name"),
        ("(declare-const X_01 Real)", "'X_01' is no name"),
        ("(declare-const X_99999999999 Real)", "is no name"),
        ("(declare-const X_0 Int)", "declare-const NAME Real"),
        ("(declare-fun X_0 (Real) Real)", "no function of linear"),
        ("(declare-const X_0)", "declare-const NAME Real"),
        ("(declare-const)", "'declare-const' is no name"),
        ("(vnnlib-version <2.0>)", "belongs to VNN-LIB 2.0"),
        ("\n\n(define-fun f () Real 1)", "line 3"),
        ("(push 1)", "'push' is no command"),
        (HEAD + "(assert (<= X_0 1)", "line 5: '.' is never closed; the file is truncated"),
        (HEAD + BOX, "none says anything of an output"),
        (HEAD + BOX + "(assert (or (<= X_0 0) (<= X_1 0)))", "none says anything of an output"),
        ("assert", "'assert' stands outside"),
        ("(<= X_0 1)", "outside of any .assert"),
        (")", "line 1: '\\)' closes nothing"),
        ("(assert |half", "begins something that does not end"),
        ("()", "is no command"),
        ("((a) b)", "is no function"),
        (HEAD + "(assert (<= X_0 nan))", "line 5: 'nan' is neither declared before nor a number"),
        (HEAD + "(assert (<= X_0 1_0))", "'1_0' is neither"),
        (HEAD + "(assert (<= X_0 1e999))", "'1e999' is beyond"),
        (HEAD + "(assert (<= (* 1e300 1e300) X_0))", "no double holds"),
        (HEAD + "(assert (<= X_7 1))", "'X_7' is neither declared"),
        (HEAD + "(assert (<= X_0))", "'<=' takes two terms"),
        (HEAD + "(assert (<= X_0 (sin 1)))", "'sin' is no function of linear properties"),
        (HEAD + "(assert (<= (* X_0 Y_0) 1))", "multiplies variables"),
        (HEAD + "(assert (<= (/ 1 X_0) 1))", "must divide by a number"),
        (HEAD + "(assert (<= (/ X_0 0) 1))", "other than 0"),
        (HEAD + "(assert (<= (+) 1))", "lacks its terms"),
        (HEAD + "(assert (not (<= X_0 1)))", "'not' is no function"),
        (HEAD + "(assert (and X_0))", "'and' takes formulas only"),
        (HEAD + "(assert X_0)", "'assert' takes one formula"),
        (HEAD + "(assert (<= X_0 1) (<= X_1 1))", "'assert' takes one formula"),
        (HEAD + "(assert (<= (<= X_0 1) 1))", "takes numbers and names"),
        (HEAD + "(assert (" + "and (" * 500, "is nested more than"),
        (HEAD + "(assert (or (assert (<= X_0 1))))", "'assert' is no function"),
        (HEAD + "(assert ((<= X_0 1)))", "must be followed by a function"),
    ],
)
def test_what_is_no_property_is_refused_with_its_line(text, message):
    with pytest.raises(ReadError, match=message):
        parse_vnnlib(text)


def test_missing_bounds_are_named():
    with pytest.raises(ReadError, match="input X_1 has no lower bound; assert one"):
        parse_vnnlib(HEAD + "(assert (>= X_0 0)) (assert (<= X_0 1)) (assert (<= X_1 1)) (assert (<= (+ X_0 Y_1) 1))")
    cases = "(assert (or (and (<= X_1 1) (<= Y_0 0)) (<= Y_0 1)))"
    with pytest.raises(ReadError, match="input X_1 has no upper bound in case 1 of 2"):
        parse_vnnlib(HEAD + "(assert (>= X_0 0)) (assert (<= X_0 1)) (assert (>= X_1 0))" + cases)


def test_disjunctions_that_multiply_without_end_are_refused(monkeypatch):
    monkeypatch.setattr(formulas, "LIMIT", 1000)
    with pytest.raises(ReadError, match="more than 1000 cases"):
        parse(*["(or (<= Y_0 0) (>= Y_1 0))"] * 40)
    assert len(parse(*["(or (<= Y_0 0) (>= Y_1 0))"] * 9).disjuncts) == 512


def test_many_cases_are_read():
    count = 600
    cases = [f"(and (>= X_0 {k / count}) (<= X_0 {(k + 1) / count}) (>= Y_0 {k}))" for k in range(count)]
    property = parse(f"(or {' '.join(cases)})")
    assert len(property.disjuncts) == count
    assert property.disjuncts[7].box.lower[0] == 7 / count
    assert property.violated([0.5001, 0], [300.0, 0])
    assert not property.violated([0.5001, 0], [299.0, 0])


def test_files_plain_and_compressed(tmp_path):
    text = HEAD + BOX + "(assert (<= Y_0 Y_1))"
    (tmp_path / "a.vnnlib").write_text(text, encoding="utf-8")
    data = gzip.compress(text.encode())
    (tmp_path / "b.vnnlib.gz").write_bytes(data)
    one, two = read_vnnlib(tmp_path / "a.vnnlib"), read_vnnlib(str(tmp_path / "b.vnnlib.gz"))
    assert write_vnnlib(one) == write_vnnlib(two)
    for name, bad in (
        ("cut.gz", data[:-12]),
        ("bad.gz", data[:20] + b"\0" * 20),
        ("no.vnnlib", b"\xff\xfe\0\1"),
        ("0", b""),
    ):
        (tmp_path / name).write_bytes(bad)
        with pytest.raises(ReadError, match=name):
            read_vnnlib(tmp_path / name)
    with pytest.raises(ReadError, match=r"missing\.vnnlib"):
        read_vnnlib(tmp_path / "missing.vnnlib")
    with pytest.raises(ReadError, match="cannot be read"):
        read_vnnlib(tmp_path)


# Random formulas against their own evaluation, point by point.

VARIABLES = ("X_0", "X_1", "Y_0", "Y_1")
numbers = st.sampled_from([-1, -0.5, 0, 0.5, 1])
terms = st.recursive(
    st.sampled_from(VARIABLES) | numbers,
    lambda inner: st.tuples(st.sampled_from("+-"), inner, inner) | st.tuples(st.just("*"), numbers, inner),
    max_leaves=4,
)
comparisons = st.tuples(st.sampled_from(["<=", ">=", "<", ">", "="]), terms, terms)
texts = st.recursive(
    comparisons,
    lambda inner: (
        st.tuples(st.sampled_from(["and", "or"]), inner, inner)
        | st.tuples(st.sampled_from(["and", "or"]), inner, inner, inner)
    ),
    max_leaves=7,
)
GRID = [dict(zip(VARIABLES, point, strict=True)) for point in itertools.product((-1, -0.5, 0, 0.5, 1), repeat=4)]


def written(tree) -> str:
    return f"({' '.join(map(written, tree))})" if isinstance(tree, tuple) else str(tree)


def value(tree, point):
    """A term's number or a formula's truth, in halves and quarters: exact in floats."""
    if not isinstance(tree, tuple):
        return point.get(tree, tree)
    head, *parts = tree[0], *(value(part, point) for part in tree[1:])
    if head in ("and", "or"):
        return all(parts) if head == "and" else any(parts)
    a, b = parts
    results = {"<=": a <= b, ">=": a >= b, "<": a < b, ">": a > b, "=": a == b, "+": a + b, "-": a - b, "*": a * b}
    return results[head]


@settings(max_examples=70, deadline=None)
@given(st.lists(texts, min_size=1, max_size=3), st.integers(0, 2**32 - 1))
def test_a_property_is_violated_where_its_text_is_true(trees, seed):
    property = parse(*map(written, trees), "(<= Y_0 5)")
    again = parse_vnnlib(write_vnnlib(property))
    for k in np.random.default_rng(seed).choice(len(GRID), 40, replace=False):
        point = GRID[k]
        truth = all(value(tree, point) for tree in trees)
        x, y = [point["X_0"], point["X_1"]], [point["Y_0"], point["Y_1"]]
        assert property.violated(x, y) == truth
        assert again.violated(x, y) == truth


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_text_is_read_or_refused(data):
    text = HEAD + BOX + "(assert (or (and (<= Y_0 (+ X_0 (* 2 Y_1))) (>= X_1 0.5)) (<= Y_1 -3)))"
    at = data.draw(st.integers(0, len(text)))
    cut = data.draw(st.integers(0, 12))
    text = text[:at] + data.draw(st.text(alphabet='()<=+-* XY_019;|".\n\0', max_size=3)) + text[at + cut :]
    try:
        property = parse_vnnlib(text)
    except ReadError:  # nothing else may come out of it
        return
    assert property.n_inputs == 2


def test_written_arrays_come_back_as_they_were(make_network):
    rng = np.random.default_rng(5)
    box = Box(-rng.random(3) / 3, rng.random(3) / 3)
    first = Disjunct(
        Polytope(box, rng.normal(size=(2, 3)), rng.normal(size=2)), rng.normal(size=(3, 2)), rng.normal(size=3)
    )
    second = Disjunct(box, [[0.1, -0.1], [0.0, 1.0]], [0.3, 1 / 3], Gx=rng.normal(size=(2, 3)), strict=[True, False])
    third = Disjunct(Box(box.lower / 7, box.upper), np.zeros((0, 2)), [])
    network = make_network((3, 4, 2))
    for parts in (
        [first],
        [second],
        [first, second],
        [first, second, third],
        robustness(network, [0] * 3, 0.1).disjuncts,
    ):
        back = parse_vnnlib(write_vnnlib(Property(parts)))
        assert len(back.disjuncts) == len(parts)
        for old, new in zip(parts, back.disjuncts, strict=True):
            pairs = [(getattr(old, name), getattr(new, name)) for name in ("Gx", "Gy", "g", "strict")]
            pairs += [(old.box.lower, new.box.lower), (old.box.upper, new.box.upper)]
            if isinstance(old.domain, Polytope):
                pairs += [(old.domain.A, new.domain.A), (old.domain.b, new.domain.b)]
            assert type(old.domain) is type(new.domain)
            assert all(np.array_equal(a, b) for a, b in pairs)
    empty = parse_vnnlib(write_vnnlib(Property([], 2, 1)) + BOX.replace("X_1", "X_0"))
    assert empty.disjuncts == ()
    with pytest.raises(OptionError, match="l1 ball"):
        write_vnnlib(robustness(network, [0] * 3, 0.1, norm="1"))
