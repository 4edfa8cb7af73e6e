"""TransformationFactory("omlt_ext.substitute_pruned"): pruned networks in the place of dense ones, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import pandas as pd
import pyomo.environ as pyo

from .block import ReLUBlock
from .bounds import Bounds
from .bridge import relu_blocks
from .errors import ModelError, OmltExtError, OptionError
from .network import Network
from .options import check_flag
from .pruning import Data, PrunedNetwork, prune
from .pruning.finetune import Finetune
from .pruning.method import Method, pruning_method
from .pyomo_door import ModelTransformation


@pyo.TransformationFactory.register(
    "omlt_ext.substitute_pruned",
    doc="put a pruned copy into every ReLUBlock in the place of its network; undo=True goes back",
)
class SubstitutePruned(ModelTransformation):
    """`TransformationFactory("omlt_ext.substitute_pruned").apply_to(model, sparsity=0.8)`; `create_using` makes a copy.

    Each active ReLUBlock gets a pruned copy of its network: `inputs` and `outputs` stay the same variables, the model
    around stays, the layers are written anew with bounds of the copy. A solver of your own then searches a smaller
    model. Its points are points of the *copy*, its bounds say nothing about the dense network, and constraints on
    outputs hold for the copy's outputs. So go back and look:

        transformation.apply_to(model, undo=True)

    puts the dense networks back and, where the inputs have values, sets the layers and outputs to what the dense
    network gives there: the start of a dense solve. "omlt_ext.pruned_surrogate" does all of this by itself.

    Keywords: `sparsity`, `method`, `scope`, `densities`, `steps`, `finetune` and `seed` as in `prune`; `data` for all
    blocks, or a dict from the blocks' names to theirs; a method that needs data and gets none learns from points drawn
    in the block's box. An unknown keyword raises `TypeError`. Applied twice it starts from the dense networks again.
    After it, `report` is a table with a row for each block and `pruned` a dict from names to `PrunedNetwork`.

    Raises `ModelError` where there is no active ReLUBlock, or nothing to undo, and what `prune` raises; the model is
    then as it was.

    >>> from omlt_ext import Layer, Network, ReLUBlock
    >>> hidden = Layer([[1.0, 0.1], [0.2, 1.0]], [0.0, 0.0], relu=True)
    >>> network = Network([hidden, Layer([[1.0, -0.1]], [0.0], relu=False)])
    >>> model = pyo.ConcreteModel()
    >>> model.x = pyo.Var(range(2), bounds=(-1, 1))
    >>> model.nn = ReLUBlock(network, inputs=model.x)
    >>> model.gain = pyo.Objective(expr=model.nn.outputs[0], sense=pyo.maximize)
    >>> substitute = pyo.TransformationFactory("omlt_ext.substitute_pruned")
    >>> substitute.apply_to(model, sparsity=0.5)
    >>> substitute.report[["block", "relus_before", "relus_after", "weights_before", "weights_after"]]
      block  relus_before  relus_after  weights_before  weights_after
    0    nn             2            1               6              2
    >>> results = pyo.SolverFactory("omlt_ext.highs").solve(model)
    >>> round(pyo.value(model.gain), 6)  # of the copy
    1.0
    >>> substitute.apply_to(model, undo=True)
    >>> model.nn.network is network, model.nn.get_error() < 1e-9
    (True, True)
    """

    def __init__(self) -> None:
        super().__init__()
        self.report: pd.DataFrame | None = None
        self.pruned: dict[str, PrunedNetwork] = {}

    def _apply_to(
        self,
        model: Any,
        *,
        sparsity: float = 0.8,
        method: str | Method = "magnitude",
        data: object = None,
        scope: str = "global",
        densities: Any = None,
        steps: int = 1,
        finetune: Finetune | None = None,
        seed: int = 0,
        undo: bool = False,
    ) -> None:
        check_flag("undo", undo)
        blocks = relu_blocks(model)
        if not blocks:
            raise ModelError(f"{model.name} has no active ReLUBlock, so that there is no network to replace")
        if undo:
            self._undo(model, blocks)
            return
        of_block = _data_of(data, [block.name for block in blocks])
        learns = pruning_method(method).needs_data or finetune is not None
        keywords: dict[str, Any] = {"scope": scope, "densities": densities, "steps": steps, "finetune": finetune}
        found = {}
        for block in blocks:
            dense, samples = _dense(block)[0], of_block.get(block.name)
            if samples is None and learns:
                samples = Data.drawn(dense, _bounds(block).box, np.random.default_rng(seed))
            found[block.name] = prune(dense, method, sparsity, samples, seed=seed, **keywords)
        before = [_dense(block) for block in blocks]
        states = [_bounds(block) for block in blocks]
        changed: list[tuple[ReLUBlock, Any, Any]] = []
        try:
            for block, pair in zip(blocks, before, strict=True):
                now = (block.network, block._request.bounds), block._dense
                block.rebuild(network=found[block.name].network)
                block._dense = pair
                changed.append((block, *now))
            _settle(blocks)
        except OmltExtError:
            for block, (network, bounds), pair in changed:
                block.rebuild(network=network, bounds=bounds)
                block._dense = pair
            _settle(blocks)
            raise
        self.pruned = found
        self.report = pd.DataFrame(
            [_row(block, dense, state) for block, (dense, _), state in zip(blocks, before, states, strict=True)]
        )

    def _undo(self, model: Any, blocks: list[ReLUBlock]) -> None:
        """The dense networks again, with their values at the inputs' values."""
        replaced = [block for block in blocks if block._dense is not None]
        if not replaced:
            raise ModelError(f"{model.name}: no network of it has been replaced, so that there is nothing to undo")
        for block in replaced:
            network, bounds = _dense(block)
            block.rebuild(network=network, bounds=bounds)
            block._dense = None
        _settle(blocks)
        for block in replaced:
            values = [variable.value for variable in block.inputs.values()]
            if None not in values:
                block.set_values_from(values)
        self.report, self.pruned = None, {}


def _dense(block: ReLUBlock) -> tuple[Network, Bounds | None]:
    """The block's own network, and the bounds that the user gave with it."""
    return cast("tuple[Network, Bounds | None]", block._dense or (block.network, block._request.bounds))


def _bounds(block: ReLUBlock) -> Bounds:
    return cast(Bounds, block.activation_bounds)


def _settle(blocks: list[ReLUBlock]) -> None:
    """Build those anew whose inputs are outputs of others, which have other ranges now."""
    for _ in blocks:
        stale = [block for block in blocks if block.stale_inputs()]
        for block in stale:
            block.rebuild()
        if not stale:
            return


def _data_of(data: object, names: list[str]) -> dict[str, object]:
    """The data of each block by its name."""
    if not isinstance(data, Mapping) or set(data) <= {"X", "y"}:
        return dict.fromkeys(names, data)
    unknown = sorted(set(map(str, data)) - set(names))
    if unknown:
        raise OptionError(f"data for {unknown[0]!r}, which is no active ReLUBlock; there are {', '.join(names)}")
    return dict(data)


def _row(block: ReLUBlock, dense: Network, before: Bounds) -> dict[str, Any]:
    """What the substitution of one block has saved."""
    network = cast(Network, block.network)
    return {
        "block": block.name,
        "relus_before": dense.n_relus,
        "relus_after": network.n_relus,
        "unstable_before": before.n_unstable,
        "unstable_after": _bounds(block).n_unstable,
        "weights_before": sum(layer.nnz for layer in dense.layers),
        "weights_after": sum(layer.nnz for layer in network.layers),
    }
