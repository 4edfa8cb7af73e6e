"""scikit-learn estimators and Pipelines, fitted here, against their own predict."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("sklearn")

from scipy.special import expit, softmax
from sklearn.compose import TransformedTargetRegressor
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.feature_selection import SelectKBest, VarianceThreshold, f_regression
from sklearn.linear_model import Lasso, LinearRegression, LogisticRegression, PoissonRegressor, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    PolynomialFeatures,
    RobustScaler,
    StandardScaler,
)
from sklearn.tree import DecisionTreeRegressor

from omlt_ext.errors import ImportCheckError, ReadError, UnsupportedOperatorError
from omlt_ext.mixed import MixedNetwork
from omlt_ext.readers import load_network

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

rng = np.random.default_rng(0)
X = rng.normal(50.0, 20.0, size=(60, 4))
y = X @ [1.0, -2.0, 3.0, 0.5] + rng.normal(size=60)
Y = np.c_[y, -0.5 * y]
CLASSES = np.digitize(y, np.quantile(y, [0.3, 0.6]))


def regressor(**options) -> MLPRegressor:
    return MLPRegressor(**{"hidden_layer_sizes": (6, 5), "max_iter": 15, "random_state": 0, **options})


def classifier(**options) -> MLPClassifier:
    return MLPClassifier(hidden_layer_sizes=(6,), max_iter=15, random_state=0, **options)


SCALERS = [
    StandardScaler(),
    StandardScaler(with_mean=False),
    StandardScaler(with_std=False),
    MinMaxScaler((-1, 2)),
    MinMaxScaler(clip=True),
    MaxAbsScaler(),
    RobustScaler(),
    RobustScaler(with_scaling=False),
    RobustScaler(with_centering=False),
]


@pytest.mark.parametrize(
    "model",
    [
        regressor(),
        regressor(activation="identity"),
        regressor(hidden_layer_sizes=()),
        *(make_pipeline(scaler, regressor()) for scaler in SCALERS),
        *(
            TransformedTargetRegressor(regressor(), transformer=scaler)
            for scaler in SCALERS
            if scaler is not SCALERS[4]
        ),
        TransformedTargetRegressor(LinearRegression()),
        make_pipeline(StandardScaler(), PCA(3), PCA(2, whiten=True), regressor()),
        make_pipeline(TruncatedSVD(2), Ridge()),
        make_pipeline(
            "passthrough", SelectKBest(f_regression, k=3), VarianceThreshold(), FunctionTransformer(), Lasso()
        ),
        Pipeline([("outer", StandardScaler()), ("inner", make_pipeline(MinMaxScaler(), LinearRegression()))]),
    ],
)
def test_predictions_agree(model):
    model.fit(X, y)
    network = load_network(model)
    points = np.r_[X, X + rng.normal(0, 60, size=X.shape)]  # well outside the data as well, where scalers clip
    np.testing.assert_allclose(network(points).ravel(), model.predict(points), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("model", [regressor(), LinearRegression(), make_pipeline(RobustScaler(), regressor())])
def test_several_outputs(model):
    model.fit(X, Y)
    np.testing.assert_allclose(load_network(model)(X), model.predict(X), rtol=1e-7, atol=1e-7)


def test_a_pipeline_of_transformers_is_read_by_its_transform():
    model = make_pipeline(StandardScaler(), PCA(2)).fit(X)
    np.testing.assert_allclose(load_network(model)(X), model.transform(X), rtol=1e-9, atol=1e-9)


def test_models_fitted_on_data_frames():
    frame = pd.DataFrame(X, columns=["a", "b", "c", "d"])
    model = make_pipeline(StandardScaler(), regressor()).fit(frame, y)
    np.testing.assert_allclose(load_network(model)(X).ravel(), model.predict(frame), rtol=1e-7)


@pytest.mark.parametrize("data", [X.astype(np.float32), 1e-6 * X, 1e6 * X], ids=["single", "small", "large"])
def test_other_precisions_and_scales(data):
    model = make_pipeline(StandardScaler(), regressor()).fit(data, y)
    np.testing.assert_allclose(load_network(model)(data).ravel(), model.predict(data), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("labels", [CLASSES, np.array(["low", "mid", "high"])[CLASSES]])
@pytest.mark.parametrize("last", [classifier(), LogisticRegression()])
def test_logits_of_several_classes(labels, last):
    model = make_pipeline(StandardScaler(), last).fit(X, labels)
    network = load_network(model, logits=True)
    assert network.n_outputs == 3
    np.testing.assert_allclose(softmax(network(X), axis=1), model.predict_proba(X), atol=1e-9)
    assert (model.classes_[network(X).argmax(axis=1)] == model.predict(X)).all()


@pytest.mark.parametrize("last", [classifier(), LogisticRegression()])
def test_one_logit_of_two_classes(last):
    model = make_pipeline(StandardScaler(), last).fit(X, CLASSES > 0)
    network = load_network(model, logits=True)
    np.testing.assert_allclose(expit(network(X)).ravel(), model.predict_proba(X)[:, 1], atol=1e-9)


def test_logits_of_a_multi_label_classifier():
    model = make_pipeline(StandardScaler(), classifier()).fit(X, np.c_[CLASSES > 0, CLASSES > 1])
    network = load_network(model, logits=True)
    np.testing.assert_allclose(expit(network(X)), model.predict_proba(X), atol=1e-9)


@pytest.mark.parametrize(
    ("model", "node", "message"),
    [
        (regressor(activation="tanh"), "MLPRegressor", "activation 'tanh' .* train with activation='relu'"),
        (regressor(activation="logistic"), "MLPRegressor", "activation 'logistic'"),
        (classifier(), "MLPClassifier", "logits=True"),
        (LogisticRegression(), "LogisticRegression", "logits=True"),
        (make_pipeline(PolynomialFeatures(), regressor()), "Pipeline, step 'polynomialfeatures'", "PolynomialFeatures"),
        (make_pipeline(Normalizer(), regressor()), "Pipeline, step 'normalizer'", "Normalizer is not read"),
        (make_pipeline(FunctionTransformer(np.cbrt), Ridge()), "Pipeline, step 'functiontransformer'", "Python code"),
        (
            TransformedTargetRegressor(Ridge(), func=np.cbrt, inverse_func=lambda v: v**3),
            "TransformedTargetRegressor",
            "inverse of FunctionTransformer",
        ),
        (DecisionTreeRegressor(), "DecisionTreeRegressor", "Supported: MLPRegressor"),
        (PoissonRegressor(), "PoissonRegressor", "Supported: MLPRegressor"),
        (GridSearchCV(Ridge(), {"alpha": [1.0]}, cv=2), "GridSearchCV", "pass its best_estimator_"),
    ],
)
def test_what_is_not_piecewise_linear_is_refused_by_name(model, node, message):
    scaled = X / 100.0
    model.fit(scaled, CLASSES if hasattr(model, "predict_proba") else np.abs(y))
    with pytest.raises(UnsupportedOperatorError, match=message) as caught:
        load_network(model)
    assert caught.value.node == node


@pytest.mark.parametrize(("activation", "code"), [("tanh", 2), ("logistic", 1)])
def test_smooth_activations_are_read_on_request(activation, code):
    model = make_pipeline(StandardScaler(), regressor(activation=activation)).fit(X, y)
    network = load_network(model, smooth=True)
    assert isinstance(network, MixedNetwork)
    assert set(network.codes[0]) == {code}
    np.testing.assert_allclose(network(X).ravel(), np.ravel(model.predict(X)), atol=1e-9)
    with pytest.raises(UnsupportedOperatorError, match="smooth=True"):
        load_network(model)
    labels = make_pipeline(StandardScaler(), classifier(activation=activation)).fit(X, CLASSES)
    with pytest.raises(UnsupportedOperatorError, match="logits=True"):
        load_network(labels, smooth=True)
    assert isinstance(load_network(labels, smooth=True, logits=True), MixedNetwork)


@pytest.mark.parametrize("model", [regressor(), StandardScaler(), make_pipeline(StandardScaler(), regressor())])
def test_models_that_are_not_fitted(model):
    with pytest.raises(ReadError, match="not fitted; call fit first"):
        load_network(model)


def test_a_pipeline_with_a_step_that_is_not_fitted():
    model = Pipeline([("scale", StandardScaler().fit(X)), ("net", regressor())])
    with pytest.raises(ReadError, match="not fitted"):
        load_network(model)


def test_damaged_models():
    model = regressor().fit(X, y)
    model.coefs_[0][0, 0] = np.nan
    with pytest.raises(ReadError, match="layer 0: the weight holds NaN"):
        load_network(model)
    model = regressor().fit(X, y)
    model.coefs_[1] = model.coefs_[1][:2]
    with pytest.raises(ReadError, match="do not fit each other"):
        load_network(model)
    with pytest.raises(ReadError, match="no step but 'passthrough'"):
        load_network(Pipeline([("nothing", "passthrough")]))


def test_a_subclass_that_predicts_something_else_is_caught_by_the_check():
    class Shifted(MLPRegressor):
        def predict(self, X):
            return super().predict(X) + 1.0

    with pytest.raises(ImportCheckError, match="Shifted"):
        load_network(Shifted(hidden_layer_sizes=(3,), max_iter=5, random_state=0).fit(X, y))
