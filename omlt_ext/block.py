"""ReLUBlock: a trained network as a block of a Pyomo model.

Every layer's encoding is written as Pyomo components under stable names: `layer[k].z[j]`, `layer[k].h[j]`,
`layer[k].sigma[j]`, and one indexed constraint for each group of rows, `layer[k].affine[j]` and so on.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, TextIO

import numpy as np
import pyomo.environ as pyo
from numpy.typing import ArrayLike
from pyomo.common.gc_manager import PauseGC
from pyomo.core.base.block import ScalarBlock
from pyomo.core.base.indexed_component_slice import IndexedComponent_slice

from .bounds import Bounds
from .curved import check_formulation, encode_mixed
from .domain import Box, Floats
from .encoding import Encoding, Formulation
from .errors import ModelError, ShapeError
from .inputs import Request, attach_inputs, attach_outputs, enforce_box, held_inputs, resolve_box, wanted_box
from .layer import write_layer
from .mixed import AnyNetwork, MixedNetwork, activation
from .network import Bools
from .plugins import formulation as find_formulation
from .pyomo_logic import untransformed
from .readers import load_network
from .tightening import tighten_mixed

Limits = tuple[tuple[Floats, Floats], ...]  # for each layer the (lower, upper) that a user's model asks of z

EDGE = 1e-6  # how far a value may be fixed outside the box: solvers' own tolerance


class ReLUBlock(ScalarBlock):
    """A network y = f(x) as a Pyomo block: `model.nn = ReLUBlock(network, inputs=model.x)`.

    `network`: a `Network`, or anything that `load_network` reads. `inputs`: its n_in inputs: an indexed Pyomo
    variable, or a list of variables, expressions and numbers, in order; for a network with several named inputs also
    a dict from their names. Variables are used as they are, without copies; expressions get a linked variable.
    Without `inputs` the block makes its own, to be linked by hand. `outputs`: the same for the n_out outputs.

    The box of the inputs is where the variables' bounds and `input_bounds` meet, `input_bounds` being a `Box`, a pair
    (lower, upper) of numbers or arrays, or a dict {i: (lower, upper)}; ends that are still missing come from
    `network.input_box`. Wherever the box is narrower than a variable's own bounds the block adds the constraint
    `input_box[i]`, so that the network is never used outside the box its bounds hold on.

    `bounds`: `Bounds` to use (intersected with the block's own); `effort`: how hard to tighten, as in `tighten_bounds`;
    `formulation`: by name or object. Networks with smooth activations (sigmoid, tanh, softplus) are read as well; they
    need a nonlinear formulation, such as "smooth", and a solver for nonlinear models. `layer[k].curve[j]` then says
    that `layer[k].h[j]` is the function of `layer[k].z[j]`.

    `inputs[i]`, `outputs[j]` and, for each layer k, `layer[k].z[j]` (pre-activation; neurons that are 0 everywhere
    have none), `layer[k].h[j]` (post-activation) and `layer[k].sigma[j]` (binary, unstable neurons only) are Pyomo
    variables. `network`, `bounds` and `formulation` are kept as attributes `network`, `activation_bounds`,
    `formulation`.

    Raises `BoundsError` where an input has no finite bounds, `ShapeError` where counts differ, `FormulationError` where
    the formulation does not write what the network holds.

    >>> import pyomo.environ as pyo
    >>> from omlt_ext import Layer, Network, ReLUBlock
    >>> network = Network([Layer([[1.0, -1.0]], [0.0], relu=True), Layer([[2.0]], [1.0], relu=False)])
    >>> model = pyo.ConcreteModel()
    >>> model.x = pyo.Var(range(2), bounds=(0, 1))
    >>> model.nn = ReLUBlock(network, inputs=model.x)
    >>> model.cost = pyo.Objective(expr=model.nn.outputs[0], sense=pyo.maximize)
    >>> results = pyo.SolverFactory("omlt_ext.highs").solve(model)
    >>> pyo.value(model.nn.outputs[0]), model.nn.get_error()
    (3.0, 0.0)
    """

    def __init__(
        self,
        network: object,
        inputs: object = None,
        *,
        outputs: object = None,
        input_bounds: object = None,
        bounds: Bounds | None = None,
        effort: str = "crown",
        formulation: str | Formulation = "bigm",
        doc: str | None = None,
    ) -> None:
        super().__init__(doc=doc)
        self.network: AnyNetwork = load_network(network, smooth=True)
        self.formulation = find_formulation(formulation)
        check_formulation(self.network, self.formulation)
        self.activation_bounds: Bounds | None = None
        self._alone: Bounds | None = None  # what holds whatever the model around the block says
        self._limits: Limits | None = None
        self._around: Any = None  # the `Surroundings` that the bounds rely on; None: on nothing but the network
        self._dense: tuple[AnyNetwork, Bounds | None] | None = None  # network and bounds that a substitute stands for
        self._request = Request(self.network, (_kept(inputs),), (_kept(outputs),), input_bounds, bounds, effort)
        self._encodings: tuple[Encoding, ...] = ()

    def construct(self, data: object = None) -> None:
        if not self._constructed:
            super().construct(data)
            self._build()

    @property
    def del_component(self) -> Any:
        """As in Pyomo. Pyomo asks for it where a rule *returns* this block, and would then copy an empty one."""
        if not self._constructed:
            raise ModelError("a rule must assign a ReLUBlock, not return it: def rule(b, i): b.nn = ReLUBlock(...)")
        return super().del_component

    def rebuild(
        self,
        *,
        network: object = None,
        input_bounds: object = None,
        bounds: Bounds | None = None,
        effort: str | None = None,
        formulation: str | Formulation | None = None,
    ) -> None:
        """Take the bounds of the input variables again, tighten, and write the layers anew.

        Call it after changing the variables' bounds, or to replace what is given here. `inputs` and `outputs` stay
        the same variables, so that another `network` must have as many of them; bounds given for the old network are
        then forgotten. What lies in `layer` is made anew, so write constraints and bounds of yours on it again.
        What the transformation "omlt_ext.tighten_bounds" has found out from the model around the block is forgotten,
        since that may have changed. Where this raises, the block is left as it was.
        """
        old = self._request
        wanted = old.network if network is None else load_network(network, smooth=True)
        counts = [(part.n_inputs, part.n_outputs) for part in (old.network, wanted)]
        if counts[0] != counts[1]:
            raise ShapeError(f"{self.name} has {counts[0]} inputs and outputs, the new network {counts[1]}")
        kept = old.bounds if wanted is old.network else None
        request = replace(
            old,
            network=wanted,
            input_bounds=old.input_bounds if input_bounds is None else input_bounds,
            bounds=kept if bounds is None else bounds,
            effort=effort or old.effort,
            new_bounds=input_bounds is not None,
        )
        method = self.formulation if formulation is None else find_formulation(formulation)
        self._build(request, method)

    def _build(self, request: Request | None = None, method: Formulation | None = None) -> None:
        request, method = request or self._request, method or self.formulation
        network = request.network
        check_formulation(network, method)
        box = resolve_box(self, request)
        found = tighten_mixed(network, box, effort=request.effort, bounds=self._known_bounds(request, box))
        encodings = encode_mixed(network, found, method)
        self.network, self._request, self.formulation = network, request, method
        self._alone, self._limits, self._around = found, None, None
        attach_inputs(self, request, box)
        self._write(found, encodings)

    def adopt(self, bounds: Bounds, encodings: tuple[Encoding, ...], limits: Limits, around: Any) -> None:
        """Write the layers anew with bounds that hold wherever the model around the block does; `rebuild` goes back.

        `encodings` are those of `bounds`. `limits` are ranges that the model asks of the pre-activations; the encodings
        hold them. `around` is what the bounds rely on: it says later whether that still stands.
        """
        enforce_box(self, bounds.box)
        self._limits, self._around = limits, around
        self._write(bounds, encodings)

    def _write(self, bounds: Bounds, encodings: tuple[Encoding, ...]) -> None:
        self.activation_bounds, self._encodings = bounds, encodings
        carry = list(self.inputs.values())
        outputs = attach_outputs(self, self._request, bounds)
        if self.component("layer") is not None:
            self.del_component("layer")
        self.layer = pyo.Block(range(len(encodings)))
        with PauseGC():  # thousands of new objects and no garbage: a full collection would cost more than the block
            for k, encoding in enumerate(encodings[:-1]):
                carry = write_layer(self.layer[k], encoding, carry)
            write_layer(self.layer[len(encodings) - 1], encodings[-1], carry, outputs)

    def _known_bounds(self, request: Request, box: Box) -> Bounds | None:
        """The user's bounds and, where the box has only shrunk, those that the block has already."""
        old = self._alone if request.network is self.network else None
        if old is None or not (old.box.contains(box.lower) and old.box.contains(box.upper)):
            return request.bounds
        return old if request.bounds is None else old.intersect(request.bounds)

    def get_error(self) -> float:
        """max_j |y_j - f_j(x)| / (1 + |f(x)|_inf) at the variables' current values."""
        x = self._values(self.inputs, "inputs", ~self._used_inputs())
        return self.network.error(x, self._values(self.outputs, "outputs"))

    def _used_inputs(self) -> Bools:
        """Inputs that stand in a row; solvers give the others no value, and the outputs do not depend on it."""
        used = np.zeros(self.network.n_inputs, dtype=bool)
        carry = np.arange(self.network.n_inputs)  # which input each of the layer's local inputs is, -1 for none
        for encoding in self._encodings:
            own = np.concatenate([carry, np.full(encoding.n_columns, -1)])
            for rows in (*encoding.rows, *(part.rows for part in encoding.indicators)):
                found = own[rows.matrix.indices]
                used[found[found >= 0]] = True
            handed = encoding.handed_on
            carry = np.where(handed >= 0, own[handed], -1)
        return used

    def _values(self, variables: Any, name: str, idle: Bools | None = None) -> Floats:
        values = [variable.value for variable in variables.values()]
        if idle is not None:
            middle = np.zeros(len(values)) if self.activation_bounds is None else self.activation_bounds.box.center
            values = [float(middle[i]) if value is None and idle[i] else value for i, value in enumerate(values)]
        missing = [i for i, value in enumerate(values) if value is None]
        if missing:
            raise ModelError(
                f"{self.name}.{name}[{missing[0]}] has no value; solve the model or set_values_from(x) first"
            )
        return np.array(values, dtype=np.float64)

    def set_values_from(self, x: ArrayLike) -> None:
        """Set every variable of the block to what the network gives at the input x, as a start for a solver.

        `x` (n_in,). Variables that are fixed keep their value. Raises `ShapeError` for another shape.
        """
        point = np.asarray(x, dtype=np.float64)
        if point.shape != (self.network.n_inputs,):
            raise ShapeError(f"the point has shape {point.shape}; {self.name} takes ({self.network.n_inputs},)")
        if not np.isfinite(point).all():
            raise ModelError(f"{self.name}: coordinate {int(np.argmin(np.isfinite(point)))} of the point is not finite")
        _assign(self.inputs, point)
        for k, z in enumerate(self.network.pre_activations(point)):
            h = activation(self.network, k, z)
            values = {"z": z, "h": h, "sigma": (z > 0).astype(float), "hbar": np.maximum(-z, 0.0)}
            for name, at in values.items():
                _assign(getattr(self.layer[k], name, {}), at)
        _assign(self.outputs, self.network(point))

    def stale_inputs(self) -> list[int]:
        """Inputs that may now leave the box the block was built for: bounds were widened, or a value fixed outside."""
        if self._alone is None or self.activation_bounds is None:
            return []
        box, own = self.activation_bounds.box, self._alone.box
        held = held_inputs(self)  # these the block holds to its box itself, whatever bounds their variables have
        built = Box(np.where(held, own.lower, box.lower), np.where(held, own.upper, box.upper))
        lower, upper = wanted_box(self, self._request)
        outside = (lower < built.lower) | (upper > built.upper)
        for i, variable in self.inputs.items():
            if variable.fixed and variable.value is not None:
                outside[i] |= not built.lower[i] - EDGE <= variable.value <= built.upper[i] + EDGE
        return np.flatnonzero(outside).tolist()

    def print_stats(self, file: TextIO | None = None) -> None:
        """Print the size of the block and the state of its neurons."""
        bounds = self.activation_bounds
        if bounds is None:
            raise ModelError(f"{self.name} is not constructed yet; add it to a ConcreteModel first")
        rows = sum(rows.neuron.size for encoding in self._encodings for rows in encoding.rows)
        columns = sum(encoding.n_columns for encoding in self._encodings)
        integers = sum(g.neuron.size for encoding in self._encodings for g in encoding.columns if g.integer)
        nonzeros = sum(rows.matrix.nnz for encoding in self._encodings for rows in encoding.rows)
        indicators = sum(part.rows.neuron.size for encoding in self._encodings for part in encoding.indicators)
        pairs = sum(part.neuron.size for encoding in self._encodings for part in encoding.pairs)
        curves = sum(part.neuron.size for encoding in self._encodings for part in encoding.curves)
        counts = ((indicators, "rows in disjunctions"), (pairs, "pairs"), (curves, "nonlinear equations"))
        logic = [f"{n} {what}" for n, what in counts if n]
        size = [f"{columns} variables ({integers} binary)", f"{rows} constraints", f"{nonzeros} nonzeros", *logic]
        lines = [
            f"{self.name}: {self.network!r}, formulation {self.formulation.name!r}",
            f"  {', '.join(size)}",
            bounds.summary(),
            *([f"  {curves} of the linear neurons are smooth"] if isinstance(self.network, MixedNetwork) else []),
        ]
        if not all(encoding.exact for encoding in self._encodings):
            lines.append("  a relaxation: other points than the network's own are feasible")
        waiting = untransformed(self)
        if waiting is not None:
            kind = waiting.ctype.__name__
            lines.append(f"  {waiting.name}: a {kind} to be transformed, which most solvers leave out silently")
        stale = self.stale_inputs()
        if stale:
            lines.append(f"  inputs {stale} have wider bounds than the block was built for: call rebuild()")
        print("\n".join(lines), file=file or sys.stdout)


def _kept(given: object) -> object:
    """What the user gave, with slices and iterators read out, since it is looked at more than once."""
    return list(given) if isinstance(given, IndexedComponent_slice | Iterator) else given


def _assign(variables: Any, values: Floats) -> None:
    for j, variable in variables.items():
        if not variable.fixed:
            variable.set_value(float(values[j]), skip_validation=True)
