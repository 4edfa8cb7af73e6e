"""Training of the weights that are left: minibatch SGD in which pruned weights stay 0.

Symbols, for each parameter p: g the gradient of the mean loss of a minibatch plus `decay` w for weights, v its
velocity, v <- momentum v + g, p <- p - learning_rate (g + momentum v)   (Nesterov's momentum).
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from scipy import sparse

from ..domain import Floats
from ..errors import MissingDependencyError, OptionError
from ..network import Layer, Network, Weight, compact
from ..options import check_choice, check_count, check_flag, check_number
from .data import Data
from .gradients import sums_at
from .weights import with_layers


@dataclass(frozen=True)
class Finetune:
    """SGD with Nesterov's momentum on the weights that are not 0 and on all biases.

    `epochs` passes over the data in minibatches of `batch` samples in random order. `decay` pulls weights, not biases,
    towards 0. `rewind`: in gradual pruning every step trains from the dense network's weights, so that pruning decides
    only which of them are there. `backend`: "numpy", or "torch", which trains on a GPU where there is one and keeps
    every weight dense.

    Raises `OptionError` for values that cannot be, `MissingDependencyError` for "torch" without PyTorch.

    >>> from omlt_ext import Layer
    >>> network = Network([Layer([[1.0, 0.0]], [0.0], relu=False)])
    >>> X = np.random.default_rng(0).normal(size=(100, 2))
    >>> data = Data(X, values=3.0 * X[:, :1] + X[:, 1:] + 1.0)
    >>> trained = Finetune(epochs=20, learning_rate=0.05).run(network, data, np.random.default_rng(0))
    >>> bool(data.loss(trained) < 0.3 * data.loss(network)), trained.layers[0].nnz
    (True, 1)
    """

    epochs: int = 10
    learning_rate: float = 0.01
    momentum: float = 0.9
    batch: int = 64
    decay: float = 0.0
    rewind: bool = False
    backend: str = "numpy"

    def __post_init__(self) -> None:
        check_count("epochs", self.epochs, 1)
        check_number("learning_rate", self.learning_rate, positive=True)
        check_number("momentum", self.momentum, most=1.0)
        check_count("batch", self.batch, 1)
        check_number("decay", self.decay)
        check_flag("rewind", self.rewind)
        check_choice("backend", self.backend, ("numpy", "torch"))

    def run(self, network: Network, data: Data, rng: np.random.Generator) -> Network:
        """The best network of the start and the ends of epochs; zeros stay zeros.

        The best has the least of what training minimises: mean loss on all the data + decay/2 |w|^2. Raises
        `OptionError` where training diverges.
        """
        if self.backend == "torch" and importlib.util.find_spec("torch") is None:
            raise MissingDependencyError(
                'backend="torch" needs PyTorch; install it with: pip install "omlt-ext[torch]"'
            )
        training: Training = (TorchTraining if self.backend == "torch" else NumpyTraining)(network, self)
        with np.errstate(over="ignore", invalid="ignore"):  # what diverges is told
            best, least = network, self._objective(network, data)
            for epoch in range(self.epochs):
                order = rng.permutation(data.n_samples)
                for first in range(0, data.n_samples, self.batch):
                    training.step(data.take(order[first : first + self.batch]))
                trained, reached = self._judged(network, data, training.parameters())
                if trained is None:
                    raise OptionError(
                        f"fine-tuning diverged in epoch {epoch + 1}; learning_rate is {self.learning_rate:g}, take a "
                        "smaller one"
                    )
                if not least <= reached:
                    best, least = trained, reached
        return best

    def _judged(
        self, network: Network, data: Data, parameters: list[tuple[Weight, Floats]]
    ) -> tuple[Network | None, float]:
        """The network with these parameters and its objective; None where they or it are no finite numbers."""
        if not all(np.isfinite(b).all() and np.isfinite(_entries(W)).all() for W, b in parameters):
            return None, np.inf
        layers = [Layer(compact(W), b, old.relu) for (W, b), old in zip(parameters, network.layers, strict=True)]
        found = with_layers(network, layers)
        reached = self._objective(found, data)
        return (found, reached) if np.isfinite(reached) else (None, np.inf)

    def _objective(self, network: Network, data: Data) -> float:
        squares = sum(float((_entries(layer.weight) ** 2).sum()) for layer in network.layers)
        return data.loss(network) + self.decay / 2 * squares


class Training(Protocol):
    """Parameters that change from step to step."""

    def step(self, batch: Data) -> None: ...

    def parameters(self) -> list[tuple[Weight, Floats]]:
        """(W, b) of every layer, to be read and not kept."""


class NumpyTraining:
    """Backward passes by hand; a weight that is stored sparse has its gradient at the stored entries only."""

    def __init__(self, network: Network, options: Finetune) -> None:
        self.layers, self.options = network.layers, options
        self.weights = [layer.weight.copy() for layer in network.layers]
        self.biases = [layer.bias.copy() for layer in network.layers]
        self.places = [W.nonzero() if sparse.issparse(W) else W != 0.0 for W in self.weights]
        self.velocities = [(np.zeros(_entries(W).shape), np.zeros(W.shape[0])) for W in self.weights]

    def step(self, batch: Data) -> None:
        inputs, active = [batch.inputs], []
        for layer, W, b in zip(self.layers, self.weights, self.biases, strict=True):
            z = (W @ inputs[-1].T).T + b
            active.append((z > 0.0) | ~layer.relu)
            inputs.append(layer.activation(z))
        back = batch.slopes(inputs[-1]) / batch.n_samples
        for k in reversed(range(len(self.layers))):
            delta = np.where(active[k], back, 0.0)
            back = (self.weights[k].T @ delta.T).T  # before the weight moves
            self._move(k, self._slope(k, delta, inputs[k]), delta.sum(axis=0))

    def parameters(self) -> list[tuple[Weight, Floats]]:
        return list(zip(self.weights, self.biases, strict=True))

    def _slope(self, k: int, delta: Floats, h: Floats) -> Floats:
        """The loss's derivative by the entries of layer k's weight."""
        if not sparse.issparse(self.weights[k]):
            return np.where(self.places[k], delta.T @ h, 0.0)
        return sums_at(delta, h, *self.places[k])

    def _move(self, k: int, slope: Floats, of_bias: Floats) -> None:
        rate, momentum, entries = self.options.learning_rate, self.options.momentum, _entries(self.weights[k])
        slope += self.options.decay * entries
        moves = (entries, slope), (self.biases[k], of_bias)
        for (values, gradient), velocity in zip(moves, self.velocities[k], strict=True):
            velocity *= momentum
            velocity += gradient
            values -= rate * (gradient + momentum * velocity)


class TorchTraining:
    """The same steps by automatic differentiation, in double precision, on a GPU where there is one."""

    def __init__(self, network: Network, options: Finetune) -> None:
        import torch

        self.torch, self.relus = torch, [layer.relu for layer in network.layers]
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.weights = [self._tensor(layer.dense_weight()).requires_grad_() for layer in network.layers]
        self.biases = [self._tensor(layer.bias).requires_grad_() for layer in network.layers]
        self.masks = [(W != 0.0).double() for W in self.weights]
        self.active = [self._tensor(~relu) for relu in self.relus]
        self.optimizer = torch.optim.SGD(
            [{"params": self.weights, "weight_decay": options.decay}, {"params": self.biases}],
            lr=options.learning_rate,
            momentum=options.momentum,
            nesterov=options.momentum > 0.0,
        )

    def step(self, batch: Data) -> None:
        functional, h = self.torch.nn.functional, self._tensor(batch.inputs)
        for W, b, linear in zip(self.weights, self.biases, self.active, strict=True):
            z = functional.linear(h, W, b)
            h = self.torch.where(linear, z, self.torch.relu(z))
        if batch.labels is None:
            loss = 0.5 * ((h - self._tensor(batch.values)) ** 2).sum(dim=1).mean()
        else:
            loss = functional.cross_entropy(h, self._tensor(batch.labels))
        self.optimizer.zero_grad()
        loss.backward()
        for W, mask in zip(self.weights, self.masks, strict=True):
            W.grad *= mask
        self.optimizer.step()

    def parameters(self) -> list[tuple[Weight, Floats]]:
        both = zip(self.weights, self.biases, strict=True)
        return [(W.detach().cpu().numpy(), b.detach().cpu().numpy()) for W, b in both]

    def _tensor(self, values: Any) -> Any:
        return self.torch.tensor(values, device=self.device)


def _entries(W: Weight) -> Floats:
    """The numbers of a weight, to be changed in place."""
    return W.data if sparse.issparse(W) else W
