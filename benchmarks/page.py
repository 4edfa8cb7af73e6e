"""Write the tables of recorded results into docs/PERFORMANCE.md: python benchmarks/page.py

The page marks where each table goes, from `<!-- table: build.load -->` to `<!-- end -->`. Two tables are made here:
`targets` holds what was asked against what was measured, `machines` where each benchmark ran.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

PAGE = Path(__file__).resolve().parents[1] / "docs" / "PERFORMANCE.md"
SLOT = re.compile(r"(<!-- table: (?P<name>[\w.]+) -->\n).*?(<!-- end -->)", re.DOTALL)

Row = tuple[str, str, bool]


def refresh(results: Path, page: Path) -> None:
    """Replace every marked table whose results are there; the others stay as they are."""
    content = {path.stem: json.loads(path.read_text()) for path in sorted(results.glob("*.json"))}
    tables = {
        f"{name}.{title}": pd.DataFrame(rows)
        for name, parts in content.items()
        for title, rows in parts.items()
        if title != "machine"
    }
    tables["targets"] = pd.DataFrame(targets(tables), columns=["asked", "measured", "reached"])
    tables["machines"] = machines(content)

    def fill(slot: re.Match[str]) -> str:
        name = slot["name"]
        return f"{slot[1]}{markdown(tables[name])}\n{slot[3]}" if name in tables else slot[0]

    page.write_text(SLOT.sub(fill, page.read_text()))


def targets(tables: dict[str, pd.DataFrame]) -> Iterator[Row]:
    """What was asked of this package, what was measured, and whether that reaches it."""
    if "build.build" in tables and "times faster than OMLT" in tables["build.build"]:
        ours = tables["build.build"].set_index("model").loc["ReLUBlock, interval"]
        speed, memory = ours["times faster than OMLT"], ours["memory of OMLT over it"]
        yield "ReLUBlock built 10 times faster than OMLT's block", f"{speed:.3g} times", speed >= 10
        yield "less memory than OMLT's block", f"{memory:.3g} times less", memory > 1
        load = tables["build.load"]
        for route in load[load["from"] == "OMLT"].to_dict("records"):
            what = f"network to HiGHS 50 times faster than OMLT's model to HiGHS by {route['route']}"
            alone, together = route["arrays faster"], route["arrays faster, with build"]
            yield f"{what}, from OMLT's finished model", f"{alone:.3g} times", alone >= 50
            yield f"{what}, from the network", f"{together:.3g} times", together >= 50
    if "bounds.bounds" in tables:
        bounds = tables["bounds.bounds"]
        longest = bounds.loc[bounds["effort"] == "crown", "seconds"].max()
        yield "CROWN bounds in under 1 s", f"{longest:.3g} s", longest < 1
    if "milp.summary" in tables:
        everything = tables["milp.summary"][lambda table: table["instances"] == "all"]
        for row in everything.to_dict("records")[1:]:
            measured = f"{row['number']}, mean ratio {row['shifted ratio']:.3g}, quartiles {row['quartiles']}"
            yield f"{row['bounds']} against interval bounds on 20 small MILPs", measured, row["number"] >= 20
    yield from ladder_targets(tables)
    yield from formulation_targets(tables)
    yield from heuristic_targets(tables)
    yield from exact_targets(tables)
    if "verification_memory.runs" in tables:
        for row in tables["verification_memory.runs"].to_dict("records"):
            measured = f"{row['peak MB']:.0f} MB after {row['seconds']:.0f} s and {row['nodes']:.0f} nodes"
            asked = f"verify for an hour in less than 4 GiB, {row['network']} by {row['split']}"
            yield asked, measured, row["seconds"] >= 3600 and row["peak MB"] < 4295
    yield from pruning_targets(tables)
    if "imports.summary" in tables:
        row = tables["imports.summary"].set_index("loader").loc["omlt_ext"]
        named = row["match"] + row["refused"] == row["files"]
        measured = f"{row['match']} of {row['files']} match, {row['refused']} refused by node, {row['wrong']} wrong"
        yield "ONNX files match or are refused by node, none wrong", measured, bool(named)
    if "collision_avoidance.summary" in tables:
        row = tables["collision_avoidance.summary"].iloc[0]
        measured = f"{row['agree']:.0f} of {row['networks']:.0f}"
        yield "the signs of 60 collision avoidance networks proved", measured, row["agree"] == row["networks"] == 60


def formulation_targets(tables: dict[str, pd.DataFrame]) -> Iterator[Row]:
    """The same of formulations: LP bounds of ideal cuts beside the hull's, and times to build."""
    if "cuts.layers" in tables:
        bounds = tables["cuts.layers"].pivot(index="network", columns="formulation", values="LP bound")
        apart = ((bounds["ideal cuts"] - bounds["Balas"]).abs() / bounds["Balas"].abs().clip(lower=1.0)).max()
        weaker = (bounds[["ideal cuts", "Balas"]].max(axis=1) > bounds["big-M"] + 1e-9).any()
        asked = "ideal cuts and Balas: one LP bound, never weaker than big-M's"
        yield asked, f"{apart:.1g} apart at most", bool(apart < 1e-4 and not weaker)
    if "formulation_build.build" in tables:
        table = tables["formulation_build.build"].set_index("formulation")
        for name in (column for column in table if "/ big-M" in column):
            over = table.index[table[name] > 2.0]
            measured = f"{len(table) - len(over)} of {len(table)}" + (f"; not {'; '.join(over)}" if len(over) else "")
            asked = "any formulation built within twice big-M's time per nonzero: "
            yield asked + name.replace(" / big-M", ""), measured, not len(over)


def ladder_targets(tables: dict[str, pd.DataFrame]) -> Iterator[Row]:
    """The same of the effort ladder; times against this package's LP rung, and against plain warm-started LPs."""
    if "ladder.dual" in tables and "obbt.plain" in tables:
        plain = tables["obbt.plain"].set_index("network")["plain LPs s"]
        for row in tables["ladder.dual"].to_dict("records"):
            excess = row["all layers above LP %"]
            for other, seconds in (("the LP rung", row["LP s"]), ("plain LPs", plain[row["network"]])):
                times = seconds / row["dual s"]
                asked = f"dual within 0.5 % of LP OBBT, 40 times faster than {other}: {row['network']}"
                yield asked, f"{excess:.2g} %, {times:.3g} times", excess <= 0.5 and times >= 40
        for row in tables["ladder.split"].to_dict("records"):
            least = min(value for name, value in row.items() if name.startswith("layer") and not pd.isna(value))
            below, share = {16: (10, 0.2), 64: (15, 1.0)}.get(row["leaves"], (None, None))
            for other, seconds in (("the LP rung", row["LP s"]), ("plain LPs", plain[row["network"]])):
                if below is not None:
                    asked = (
                        f"{row['leaves']} leaves {below} % below LP OBBT in every layer, in {share:g} of the time of"
                    )
                    found = row["split s"] / seconds
                    measured = f"{least:.3g} % below in {found:.2g} of it"
                    yield f"{asked} {other}: {row['network']}", measured, least >= below and found <= share
        strong = tables["ladder.milp"]
        limit = strong.iloc[1]["mean width"]
        reached = strong[(strong["mean width"] <= limit) & strong["bounds"].str.startswith("split")]
        best = (reached if len(reached) else strong).iloc[0 if len(reached) else -1]
        share = best["share of MILP time"]
        measured = (
            f"{best['bounds']}: {best['below LP %']:.3g} % below LP, MILPs {strong.iloc[1]['below LP %']:.3g} %; "
        )
        asked = "split as tight as MILP OBBT with 20 s a bound at a hundredth of its time"
        yield asked, f"{measured}{share:.2g} of its time", bool(len(reached) and share <= 0.01)
    if "obbt.lp" in tables:
        for row in tables["obbt.lp"].to_dict("records"):
            times = row["times faster than loop"]
            yield (
                f"LP OBBT 20 times faster than the appsi_highs loop, layer {row['layer']}",
                f"{times:.3g} times",
                times >= 20,
            )
        times = tables["obbt.layers"].set_index("what").loc["dual rung", "times faster than the loop"]
        yield "the dual rung 1,000 times faster than that loop", f"{times:.3g} times", times >= 1000
    if "large.dual" in tables:
        for row, seconds, megabytes in zip(
            tables["large.dual"].to_dict("records"), (20, 1e9), (4096, 8192), strict=True
        ):
            measured = f"{row['seconds']:.3g} s, {row['peak MB']:.0f} MB"
            limit = "20 s and 4 GiB" if row["network"] == "dense" else "8 GiB"
            done = row["seconds"] < seconds and row["peak MB"] < megabytes
            yield f"dual bounds of a {row['network']} network with {row['ReLUs']} ReLUs within {limit}", measured, done
    if "validity.summary" in tables:
        table = tables["validity.summary"]
        networks, outside = int(table.loc[table["rung"] == "dual", "number"].sum()), int(table["neurons outside"].sum())
        measured = f"{networks} networks, {outside} neurons outside"
        done = networks >= 200 and outside == 0 and bool(table["nested"].all()) and table["points"].min() >= 10**6
        yield "no sample of 10^6 points leaves its bounds on 200 networks, and rungs nest", measured, done


def heuristic_targets(tables: dict[str, pd.DataFrame]) -> Iterator[Row]:
    """The same of the searches: recorded values, shares of a grid of networks, small optima, memory."""
    if "heuristics_recorded.values" in tables:
        table = tables["heuristics_recorded.values"]
        measured = f"{table['reached'].sum()} of {len(table)}, {table['behind'].max():.2g} behind at most"
        yield "auto at the recorded values of the published walk, up to 1e-6", measured, bool(table["reached"].all())
    if "heuristics_recorded.walk" in tables:
        for method, part in tables["heuristics_recorded.walk"].groupby("method", sort=False):
            longest = part["seconds"].max()
            asked = f"the first walk on 1000-2x500 ends within 10 s, {method.removesuffix('/1')}"
            yield asked, f"{longest:.3g} s at most on {len(part)}", longest <= 10
    if "heuristics_grid.shares" in tables:
        table = tables["heuristics_grid.shares"]
        for row in table[table["after s"] == table["after s"].max()].to_dict("records"):
            plain, count = row["against"] == "plain ascent", row["instances"]
            good, better = row["at least as good"], row["better"]
            share = "95 % and better on a third of 36 networks or more" if plain else "every network"
            done = count >= 36 and good >= (0.95 if plain else 1.0) * count and (not plain or better >= count / 3)
            asked = f"auto at least as good as {row['against']} after {row['after s']:g} s on {share}"
            yield asked, f"{good} of {count}, better on {better}, {row['most behind']:.2g} behind at most", done
    if "heuristics_exact.summary" in tables:
        row = tables["heuristics_exact.summary"].iloc[-1]
        solved, found = row["solved exactly"], row["optimum found"]
        done = solved >= 30 and found >= 0.9 * solved and row["slowest s"] <= 10
        yield "auto finds the optimum within 10 s on 90 % of 30 networks or more", f"{found} of {solved}", bool(done)
    if "heuristics_memory.auto" in tables:
        row = tables["heuristics_memory.auto"].iloc[0]
        measured = f"{row['peak MB']:.0f} MB in {row['seconds']:.3g} s"
        yield f"auto on {row['network']} in less than 4 GiB", measured, bool(row["peak MB"] < 4295)


def exact_targets(tables: dict[str, pd.DataFrame]) -> Iterator[Row]:
    """The same of proofs of optimality: times against MILP solvers where either closes, gaps where neither does."""
    if "exact.summary" not in tables:
        return
    for row in tables["exact.summary"].to_dict("records"):
        other, count, by = row["against"], row["either closes"], row["method"]
        least = f"{row['least']:.3g} times at least ({row['least on']})" if count else "none closed"
        if other == "Gurobi":
            share = f"{row['faster']} of {count}, {least}"
            yield f"{by}: proof faster than Gurobi's on three quarters", share, row["faster"] >= 0.75 * count > 0
            mean = row["times faster, mean"]
            yield f"{by}: proof twice as fast as Gurobi's in the geometric mean", f"{mean:.3g} times", mean >= 2
        else:
            measured = f"{row['5 times faster']} of {count}, {least}"
            yield f"{by}: proof 5 times faster than {other}'s on all", measured, row["5 times faster"] == count > 0
        asked = f"{by}: a smaller gap than {other}'s at {row['limit s']:g} s where neither closes"
        gaps, unclosed = row["smaller gap"], row["neither closes"]
        yield asked, f"{gaps} of {unclosed}", gaps == unclosed


def pruning_targets(tables: dict[str, pd.DataFrame]) -> Iterator[Row]:
    """The same of pruning without fine-tuning: mean accuracies over the seeds against magnitude's."""
    if "pruning.methods" in tables:
        table = tables["pruning.methods"][lambda table: table["sparsity"] <= 0.95]
        highest = table["sparsity"].max()
        for (training, method), part in table.groupby(["training", "method"], sort=False):
            if not method.startswith(("undecayed", "CBS")):
                continue
            ahead = part["against magnitude"].to_numpy()
            points = ", ".join(f"{100 * value:+.2g}" for value in ahead)
            asked = f"{method} at least as accurate as magnitude at 80, 90, 95 % sparsity, {training}"
            yield asked, f"{points} points", bool((ahead >= 0).all())
            if method == "CBS":
                last = float(part.loc[part["sparsity"] == highest, "against magnitude"].iloc[0])
                asked = f"CBS with update 5 points better at the highest sparsity, {training}"
                yield asked, f"{100 * last:+.2g} points", last >= 0.05
    if "pruning_memory.cbs" in tables:
        row = tables["pruning_memory.cbs"].sort_values("peak MB").iloc[-1]
        asked = f"CBS on {row['weights']:.0f} weights and {row['samples']:.0f} samples in less than 2 GiB"
        yield asked, f"{row['peak MB']:.0f} MB", bool(row["peak MB"] < 2147)


def machines(content: dict[str, Any]) -> pd.DataFrame:
    """One row a benchmark: where it ran, with which versions, and how busy the machine was before."""
    rows = []
    for name, parts in content.items():
        about = parts["machine"]
        row = {"benchmark": name, "system": about["system"], "cores": about["cores"], "memory GB": about["memory_gb"]}
        rows.append(row | {"load before": about["load_before"], "Python": about["python"]} | about["packages"])
    return pd.DataFrame(rows)


def markdown(table: pd.DataFrame) -> str:
    """The table in Markdown, numbers to three digits and to the right.

    >>> print(markdown(pd.DataFrame({"kind": ["a"], "seconds": [0.12345], "n": [7], "reached": [True]})))
    | kind | seconds | n | reached |
    | :-- | --: | --: | :-- |
    | a | 0.123 | 7 | yes |
    """
    numbers = [pd.api.types.is_numeric_dtype(t) and not pd.api.types.is_bool_dtype(t) for t in table.dtypes]
    lines = [[_cell(name) for name in table.columns], ["--:" if number else ":--" for number in numbers]]
    lines += [[_cell(value) for value in row] for row in table.itertuples(index=False)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if pd.isna(value):
        return ""
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
    return str(value).replace("|", r"\|")


if __name__ == "__main__":
    refresh(Path(__file__).with_name("results"), PAGE)
