"""scikit-learn: fitted multilayer perceptrons and linear models, alone or behind scalers in a `Pipeline`.

A step is lowered on a symbolic tensor of shape (n_features,). Nothing here imports scikit-learn: the fitted object is
read through its public attributes, and its own `predict` or `transform` checks the result.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit, softmax

from ..domain import Floats
from ..errors import ImportCheckError, OmltExtError, ReadError, ShapeError, UnsupportedOperatorError
from ..mixed import AnyNetwork
from .check import check_import, probe_points
from .lowering import Lowering, Tensor
from .piecewise import clip, relu
from .smooth import HINT, sigmoid, tanh

LINEAR = {
    *("ARDRegression", "BayesianRidge", "ElasticNet", "ElasticNetCV", "HuberRegressor", "Lars", "LarsCV", "Lasso"),
    *("LassoCV", "LassoLars", "LassoLarsCV", "LassoLarsIC", "LinearRegression", "LinearSVR", "MultiTaskElasticNet"),
    *("MultiTaskElasticNetCV", "MultiTaskLasso", "MultiTaskLassoCV", "OrthogonalMatchingPursuit"),
    *("OrthogonalMatchingPursuitCV", "QuantileRegressor", "Ridge", "RidgeCV", "SGDRegressor", "TheilSenRegressor"),
}
CLASSIFIERS = {"LogisticRegression", "LogisticRegressionCV", "MLPClassifier"}
SUPPORTED = (
    "MLPRegressor and MLPClassifier (activation 'relu' or 'identity'), linear regressors, LogisticRegression, "
    "TransformedTargetRegressor, and Pipelines of these behind StandardScaler, MinMaxScaler, MaxAbsScaler, "
    "RobustScaler, PCA, TruncatedSVD, feature selectors and 'passthrough'"
)


def read_sklearn(model: Any, *, logits: bool = False, smooth: bool = False) -> AnyNetwork:
    """The network of a fitted scikit-learn estimator or Pipeline: what its `predict`, else its `transform`, computes.

    The network takes the raw features that `predict` takes. A classifier's `predict` is not continuous, so it is read
    with `logits=True` only: the outputs are then the arguments of its softmax or logistic function, one per class (or
    one in all where two classes, or the labels of a multi-label classifier, each have a logistic function).
    `smooth=True` reads multilayer perceptrons with the activations 'logistic' and 'tanh' as well.

    Raises `ReadError` where an estimator is not fitted, `UnsupportedOperatorError` where a step is not piecewise
    linear.

    >>> from sklearn.linear_model import LinearRegression
    >>> model = LinearRegression().fit([[0.0], [1.0], [2.0]], [1.0, 3.0, 5.0])
    >>> np.round(read_sklearn(model)([4.0]), 6)
    array([9.])
    """
    graph = Lowering(smooth)
    source = type(model).__name__
    x = graph.input("input", (_n_features(model),))
    try:
        y = _lower(x, model, logits, source)
    except ValueError as error:
        if isinstance(error, OmltExtError) and not isinstance(error, ShapeError):
            raise
        raise ReadError(f"{source}: its fitted arrays do not fit each other: {error}") from None
    network = graph.to_network({"output": y}, source=source)
    points = _points(network, model)
    if _name(_last(model)) in CLASSIFIERS:
        _check_classifier(network, model, points, source)
    else:
        check_import(network, lambda x: _call(model, x, source), source=source, tolerance=1e-6, points=points)
    return network


def _n_features(model: Any) -> int:
    """The number of raw features; also the test that the model is fitted."""
    first = model
    while _name(first) == "Pipeline":
        steps = [step for _, step in first.steps if _name(step) not in ("passthrough", "None")]
        if not steps:
            raise ReadError("the Pipeline holds no step but 'passthrough'; it has no number of inputs")
        first = steps[0]
    try:
        return int(first.n_features_in_)
    except AttributeError:
        name = type(first).__name__
        if _name(first) in {*_STEPS, *CLASSIFIERS, *LINEAR}:
            raise ReadError(f"{name} is not fitted; call fit first") from None
        raise _unsupported(first, type(model).__name__) from None


def _last(model: Any) -> Any:
    return _last(model.steps[-1][1]) if _name(model) == "Pipeline" else model


def _points(network: AnyNetwork, model: Any) -> Floats:
    """Random points, and the same points as the first scaler gives them out: where the data lies."""
    points = probe_points(network)
    first = model.steps[0][1] if _name(model) == "Pipeline" else model
    if _name(first) not in _SCALERS:
        return points
    s, m = _SCALERS[_name(first)](first)
    return np.concatenate([points, (points - np.asarray(m)) / np.asarray(s)])


def _call(model: Any, x: Floats, source: str, method: str | None = None) -> Any:
    """What the model itself gives at x (batch, n_in), under the feature names that it was fitted with."""
    names = getattr(model, "feature_names_in_", None)
    method = method or ("predict" if hasattr(model, "predict") else "transform")
    try:
        return getattr(model, method)(x if names is None else pd.DataFrame(x, columns=names))
    except Exception as error:
        raise ReadError(f"{source}: its own {method} fails on an array of shape {x.shape}: {error}") from None


def _check_classifier(network: AnyNetwork, model: Any, points: Floats, source: str) -> None:
    """Compare the probabilities and the labels that the logits imply with `predict_proba` and `predict`."""
    logits = network(points)
    shared = getattr(_last(model), "out_activation_", "softmax") == "softmax" and logits.shape[1] > 1
    ours = softmax(logits, axis=1) if shared else expit(logits)
    ours = np.hstack([1.0 - ours, ours]) if ours.shape[1] == 1 else ours
    theirs = np.asarray(_call(model, points, source, "predict_proba"))
    labels = np.asarray(_call(model, points, source, "predict"))
    if ours.shape != theirs.shape or not (np.abs(ours - theirs) <= 1e-6).all():
        raise ImportCheckError(f"{source}: its predict_proba differs from the probabilities of the lowered network")
    if labels.ndim == 1:
        top = np.sort(logits, axis=1)
        margin = np.abs(top[:, 0]) if logits.shape[1] == 1 else top[:, -1] - top[:, -2]
        chosen = np.asarray(model.classes_)[np.argmax(ours, axis=1)]
        if (chosen != labels)[margin > 1e-6].any():
            raise ImportCheckError(f"{source}: its predict differs from the classes of the lowered network")


def _lower(t: Tensor, step: Any, logits: bool, where: str) -> Tensor:
    """The output of one fitted step on t (n_features,); `where` names the step in errors."""
    name = _name(step)
    if name in ("passthrough", "None"):
        return t
    if name == "Pipeline":
        for label, part in step.steps:
            t = _lower(t, part, logits, f"{where}, step {label!r}")
        return t
    lower = _STEPS.get(name)
    try:
        if name in CLASSIFIERS:
            return _classify(t, step, logits, where)
        if lower is not None:
            return lower(t, step, where)
        if name in LINEAR:
            return _affine(t, step.coef_, step.intercept_, where)
        if hasattr(step, "get_support"):
            return t.pick(np.asarray(step.get_support(indices=True)))
    except AttributeError as error:
        raise ReadError(f"{where}: {type(step).__name__} is not fitted ({error}); call fit first") from None
    raise _unsupported(step, where)


def _unsupported(step: Any, where: str) -> UnsupportedOperatorError:
    name = type(step).__name__
    best = "; pass its best_estimator_" if hasattr(step, "best_estimator_") else ""
    message = f"{where}: {name} is not read{best}. Supported: {SUPPORTED}"
    return UnsupportedOperatorError(message, node=where, operator=name)


def _name(step: Any) -> str:
    """The scikit-learn class that a step is, or derives from."""
    if step is None or isinstance(step, str):
        return str(step)
    own = (c.__name__ for c in type(step).__mro__ if c.__module__.split(".")[0] == "sklearn")
    return next(own, type(step).__name__)


def _finite(values: Any, where: str, what: str) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if not np.isfinite(array).all():
        raise ReadError(f"{where}: {what} holds NaN or infinite numbers")
    return array


def _affine(t: Tensor, coef: Any, intercept: Any, where: str) -> Tensor:
    """W t + b for W (n_out, n_in) or (n_in,)."""
    coef = coef.toarray() if hasattr(coef, "toarray") else coef  # after sparsify()
    W = np.atleast_2d(_finite(coef, where, "the weight"))
    b = _finite(intercept, where, "the bias").ravel()
    return t.linear(W, (W.shape[0],)) + np.broadcast_to(b, (W.shape[0],))


def _standard(step: Any) -> tuple[Any, Any]:
    scale = 1.0 if step.scale_ is None else 1.0 / np.asarray(step.scale_)
    return scale, -np.asarray(step.mean_) * scale if step.with_mean else 0.0


def _min_max(step: Any) -> tuple[Any, Any]:
    return step.scale_, step.min_


def _max_abs(step: Any) -> tuple[Any, Any]:
    return 1.0 / np.asarray(step.scale_), 0.0


def _robust(step: Any) -> tuple[Any, Any]:
    scale = 1.0 / np.asarray(step.scale_) if step.with_scaling else 1.0
    return scale, -np.asarray(step.center_) * scale if step.with_centering else 0.0


# (s, m) of each scaler's transform s x + m, before it clips
_SCALERS: dict[str, Callable[[Any], tuple[Any, Any]]] = {
    "StandardScaler": _standard,
    "MinMaxScaler": _min_max,
    "MaxAbsScaler": _max_abs,
    "RobustScaler": _robust,
}


def _rescale(t: Tensor, step: Any, where: str) -> Tensor:
    """The transform of a scaler; MinMaxScaler and MaxAbsScaler clip where they were told to."""
    s, m = _SCALERS[_name(step)](step)
    scaled = t * _finite(s, where, "the scale") + _finite(m, where, "the shift")
    lower, upper = getattr(step, "feature_range", (-1.0, 1.0))
    return clip(scaled, float(lower), float(upper)) if getattr(step, "clip", False) else scaled


def _unscale(y: Tensor, step: Any, where: str) -> Tensor:
    """The inverse transform (y - m) / s of a scaler; it never clips."""
    s, m = _SCALERS[_name(step)](step)
    return (y - _finite(m, where, "the shift")) / _finite(s, where, "the scale")


def _pca(t: Tensor, step: Any, where: str) -> Tensor:
    W = _finite(step.components_, where, "components_")
    mean = _finite(step.mean_, where, "mean_") if step.mean_ is not None else np.zeros(W.shape[1])
    if step.whiten:
        W = W / np.sqrt(_finite(step.explained_variance_, where, "explained_variance_"))[:, None]
    return _affine(t, W, -W @ mean, where)


def _svd(t: Tensor, step: Any, where: str) -> Tensor:
    return _affine(t, step.components_, np.zeros(len(step.components_)), where)


def _function(t: Tensor, step: Any, where: str) -> Tensor:
    if step.func is not None:
        raise UnsupportedOperatorError(
            f"{where}: a FunctionTransformer calls Python code, which cannot be read; only func=None (the identity) is",
            node=where,
            operator="FunctionTransformer",
        )
    return t


def _transformed_target(t: Tensor, step: Any, where: str) -> Tensor:
    y = _lower(t, step.regressor_, False, f"{where}, regressor")
    target = step.transformer_
    if _name(target) in _SCALERS:
        return _unscale(y, target, where)
    if _name(target) == "FunctionTransformer" and target.inverse_func is None:
        return y
    raise UnsupportedOperatorError(
        f"{where}: the inverse of {type(target).__name__} on the target is not read; supported: {', '.join(_SCALERS)}",
        node=where,
        operator=type(target).__name__,
    )


ACTIVATIONS = {"relu": relu, "logistic": sigmoid, "tanh": tanh}


def _perceptron(t: Tensor, step: Any, where: str) -> Tensor:
    """All layers of a multilayer perceptron, without its output activation."""
    act = ACTIVATIONS.get(step.activation)
    allowed = t.graph.allows_smooth and act is not None
    if step.activation not in ("relu", "identity") and not allowed and len(step.coefs_) > 1:
        hint = "" if act is None else f", or {HINT}"
        raise UnsupportedOperatorError(
            f"{where}: the activation {step.activation!r} is not piecewise linear; train with activation='relu'{hint}",
            node=where,
            operator=step.activation,
        )
    last = len(step.coefs_) - 1
    for k, (coef, intercept) in enumerate(zip(step.coefs_, step.intercepts_, strict=True)):
        t = _affine(t, np.transpose(coef), intercept, f"{where}, layer {k}")
        t = act(t) if k < last and act is not None else t
    return t


def _regress(t: Tensor, step: Any, where: str) -> Tensor:
    y = _perceptron(t, step, where)
    if step.out_activation_ != "identity":
        raise UnsupportedOperatorError(
            f"{where}: the output activation {step.out_activation_!r} is not piecewise linear; train with "
            "loss='squared_error'",
            node=where,
            operator=step.out_activation_,
        )
    return y


def _classify(t: Tensor, step: Any, logits: bool, where: str) -> Tensor:
    if not logits:
        raise UnsupportedOperatorError(
            f"{where}: a {type(step).__name__} predicts classes, through a softmax or logistic function that is not "
            "piecewise linear; read it with logits=True to have that function's arguments as outputs",
            node=where,
            operator="softmax",
        )
    if _name(step) == "MLPClassifier":
        return _perceptron(t, step, where)
    return _affine(t, step.coef_, step.intercept_, where)


_STEPS: dict[str, Callable[[Tensor, Any, str], Tensor]] = {
    **dict.fromkeys(_SCALERS, _rescale),
    "MLPRegressor": _regress,
    "TransformedTargetRegressor": _transformed_target,
    "PCA": _pca,
    "IncrementalPCA": _pca,
    "TruncatedSVD": _svd,
    "FunctionTransformer": _function,
}
