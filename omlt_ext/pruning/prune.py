"""prune: a sparse copy of a network, by any method, in one step or several, with or without training in between.

Gradual pruning keeps the share (1 - s)^(t/T) of the weights after step t of T, s the sparsity asked for: each step
takes the same share of what is left, so that scores are made anew for the weights that remain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tqdm.auto import tqdm

from ..domain import Floats, numbers
from ..errors import OptionError
from ..mixed import piecewise_linear
from ..network import Bools, Network
from ..options import check_choice, check_count, check_number
from .data import Data
from .densities import region_densities
from .finetune import Finetune
from .fold import fold
from .method import Method, Task, pruning_method
from .report import PruningReport, report
from .weights import Weights


@dataclass(frozen=True, eq=False)
class PrunedNetwork:
    """A sparse copy: `network` without the neurons that pruning has made constant or idle, exactly the same function
    as `unfolded`, which is as wide as the dense network.

    `masks`: for each layer (n_out, n_in), True where a weight is kept. `report`: what it cost.
    """

    network: Network
    unfolded: Network
    masks: tuple[Bools, ...]
    report: PruningReport

    def __repr__(self) -> str:
        return f"PrunedNetwork({self.network!r}, sparsity {self.report.reached:.3g})"


def prune(
    network: Network,
    method: str | Method = "magnitude",
    sparsity: float = 0.8,
    data: object = None,
    *,
    scope: str = "global",
    densities: str | Sequence[float] | None = None,
    steps: int = 1,
    finetune: Finetune | None = None,
    test: object = None,
    seed: int = 0,
    progress: bool = False,
) -> PrunedNetwork:
    """A copy of the network in which the share `sparsity` (0 to 1) of the weights is 0; biases stay.

    `method`, a name or an object with options of its own: "magnitude" (the default), "gradient", "undecayed", "cbs"
    (the Combinatorial Brain Surgeon), "neurons" (whole neurons: `sparsity` is their share in each hidden layer).
    The weights compete in all layers together, `scope="global"`, or in each layer for itself, "layer"; `densities` says
    instead which share each layer keeps, one number a layer, and `sparsity` then does not count; "regions" takes those
    with the largest bound on the number of linear regions at this sparsity. `steps` > 1 prunes little by little.

    `data`: X (N, n_in), (X, y) or what else `Data.of` reads; "gradient", "undecayed" and "cbs" learn from them, and so
    does `finetune`, which trains the weights that are left after every step. The report holds accuracy and loss on
    `test`, or on `data` where there is no `test`. The same `seed` gives the same result.

    Raises `NetworkError` for what is no network, `OptionError` and `ShapeError` for arguments that cannot be.

    >>> from omlt_ext import Layer
    >>> hidden = Layer([[1.0, 0.1], [0.1, 0.2], [0.3, 2.0]], [0.0, 0.5, 0.0], relu=True)
    >>> dense = Network([hidden, Layer([[1.0, 0.9, 1.5]], [0.0], relu=False)])
    >>> pruned = prune(dense, sparsity=4 / 9)
    >>> pruned, pruned.network.layers[1].bias  # the second neuron has become the constant 0.5
    (PrunedNetwork(<Network 2-2-1 from arrays>, sparsity 0.444), array([0.45]))
    """
    piecewise_linear(network)
    chosen = pruning_method(method)
    check_number("sparsity", sparsity, most=1.0)
    sparsity = float(sparsity)  # NumPy's single precision is no float
    check_choice("scope", scope, ("global", "layer"))
    check_count("steps", steps, 1)
    check_count("seed", seed, 0)
    if not (finetune is None or isinstance(finetune, Finetune)):
        raise OptionError(f"finetune is {finetune!r}; it must be a Finetune, such as Finetune(epochs=10)")
    if data is None and (chosen.needs_data or finetune is not None):
        who = f"the pruning method {method!r}" if chosen.needs_data else "finetune"
        raise OptionError(f"{who} learns from samples; give data, X or (X, y)")
    samples = None if data is None else Data.of(data, network)
    judged = samples if test is None else Data.of(test, network)
    kept = _shares(network, sparsity, scope, densities, chosen)
    rng, dense = np.random.default_rng(seed), Weights.of(network)
    if densities is not None and not isinstance(densities, str):  # what they amount to
        sparsity = 1.0 - sum(count for _, count in _groups(dense, kept, 1.0)) / max(1, dense.d)
    weights = dense
    for step in tqdm(range(1, steps + 1), disable=not progress, unit="step", desc="prune"):
        share = step / steps
        task = Task(weights, 1.0 - (1.0 - sparsity) ** share, _groups(dense, kept, share), samples, rng)
        w = chosen.prune(task)
        if finetune is None:
            weights = weights.at(weights.network_with(w))
            continue
        assert samples is not None
        begin = dense.network_with(np.where(w != 0.0, dense.vector, 0.0)) if finetune.rewind else None
        weights = weights.at(finetune.run(weights.network_with(w) if begin is None else begin, samples, rng))
    unfolded, masks = weights.network, weights.masks(weights.vector != 0.0)
    folded = fold(unfolded)
    return PrunedNetwork(folded, unfolded, masks, report(network, unfolded, folded, chosen, sparsity, judged))


def _shares(
    network: Network, sparsity: float, scope: str, densities: str | Sequence[float] | None, method: Method
) -> Floats | float:
    """The share that is kept of all weights together, or (layers,) of each layer's."""
    if densities is None:
        return 1.0 - sparsity if scope == "global" else np.full(len(network.layers), 1.0 - sparsity)
    if method.by_neuron:
        raise OptionError("densities are shares of weights, and this method prunes neurons; leave densities out")
    if isinstance(densities, str):
        if densities != "regions":
            raise OptionError(f"densities is {densities!r}; it must be 'regions', or a share for each layer")
        return np.array(region_densities(network, sparsity))
    shares = np.array(numbers(densities, "densities", OptionError))
    if shares.shape != (len(network.layers),):
        n = len(network.layers)
        raise OptionError(f"densities has shape {shares.shape}; give one number for each of {n} layers")
    for k, share in enumerate(shares.tolist()):
        check_number(f"densities[{k}]", share, most=1.0)
    return shares


def _groups(weights: Weights, kept: Floats | float, share: float) -> tuple[tuple[slice, int], ...]:
    """The groups of a step that keeps the power `share` of what is kept in the end."""
    if isinstance(kept, float):
        return ((slice(0, weights.d), weights.d - round(weights.d * (1.0 - kept**share))),)
    sizes = [part.stop - part.start for part in weights.slices]
    counts = [size - round(size * (1.0 - of_layer**share)) for size, of_layer in zip(sizes, kept.tolist(), strict=True)]
    return tuple(zip(weights.slices, counts, strict=True))
