"""Keras models and files, against the models themselves."""

# ruff: noqa: E402 (the skip and the backend come before the imports)

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile

import numpy as np
import pytest

pytestmark = [pytest.mark.keras, pytest.mark.filterwarnings("ignore::DeprecationWarning")]
pytest.importorskip("torch")  # the backend of these tests
os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras")

from keras import layers as L

from omlt_ext.errors import ReadError, UnsupportedOperatorError
from omlt_ext.mixed import MixedNetwork
from omlt_ext.readers import load_network


def sequential(shape, *layers):
    return randomised(keras.Sequential([keras.Input(shape), *layers]))


def randomised(model):
    """The same model with no weight at zero or one."""
    rng = np.random.default_rng(0)
    for weight in model.weights:
        spread = rng.uniform(0.5, 1.5, weight.shape)
        weight.assign(spread if "moving" in weight.path or "variance" in weight.path else spread - 1.0)
    return model


def agree(model, network, *inputs):
    rng = np.random.default_rng(1)
    parts = [rng.normal(size=(9, *shape)).astype("float32") for shape in inputs]
    found = model(parts[0] if len(parts) == 1 else parts, training=False)
    found = found if isinstance(found, (list, tuple)) else [found]
    expected = np.concatenate([keras.ops.convert_to_numpy(y).reshape(9, -1) for y in found], axis=1)
    x = np.concatenate([part.reshape(9, -1) for part in parts], axis=1)
    np.testing.assert_allclose(network(x), expected, rtol=1e-4, atol=1e-4 * (1 + np.abs(expected).max()))


SEQUENTIAL = [
    ((4,), L.Dense(5, "relu"), L.Dense(2)),
    ((4,), L.Dense(5, "leaky_relu", use_bias=False), L.Dense(5, "relu6"), L.Dense(2, "hard_sigmoid")),
    ((4,), L.Dense(5), L.LeakyReLU(negative_slope=0.3), L.PReLU(), L.ReLU(max_value=0.4, negative_slope=0.1)),
    ((4,), L.Dense(5, activation=L.LeakyReLU()), L.Dropout(0.5), L.GaussianNoise(1.0), L.Activation("hard_tanh")),
    (
        (4,),
        L.Normalization(mean=[1.0, 2, 3, 4], variance=[4.0, 1, 2, 1]),
        L.Rescaling(2.0, 1.0),
        L.BatchNormalization(),
        L.ReLU(),
    ),
    ((4,), L.BatchNormalization(center=False, scale=False), L.Identity(), L.Dense(2)),
    ((3, 4), L.Dense(2, "relu"), L.Permute((2, 1)), L.PReLU(shared_axes=[1]), L.Reshape((-1, 2)), L.Flatten()),
    ((4,), L.RepeatVector(3), L.Conv1D(2, 2, padding="causal", dilation_rate=2), L.GlobalMaxPooling1D(keepdims=True)),
    ((7, 2), L.Conv1D(4, 3, strides=2, groups=2, padding="same"), L.MaxPooling1D(2, padding="same")),
    ((6, 2), L.SeparableConv1D(3, 2), L.UpSampling1D(2), L.Cropping1D((1, 2)), L.ZeroPadding1D(1)),
    ((6, 2), L.DepthwiseConv1D(2, depth_multiplier=2), L.AveragePooling1D(2), L.GlobalAveragePooling1D()),
    ((6, 2), L.Conv1DTranspose(3, 3, strides=2, padding="same"), L.ReLU()),
    ((6, 5, 2), L.Conv2D(3, (2, 3), strides=(2, 1), activation="relu"), L.MaxPooling2D(2), L.Flatten()),
    ((6, 5, 2), L.Conv2D(3, 3, padding="same", dilation_rate=2), L.BatchNormalization(), L.AveragePooling2D(2)),
    ((5, 4, 2), L.DepthwiseConv2D(3, padding="same", depth_multiplier=2), L.GlobalAveragePooling2D()),
    ((5, 4, 2), L.SeparableConv2D(3, 2, depth_multiplier=2), L.AveragePooling2D(3, strides=1, padding="same")),
    ((4, 3, 2), L.Conv2DTranspose(3, 3, strides=2), L.ZeroPadding2D(((1, 0), (2, 1))), L.Cropping2D(1)),
    ((4, 3, 2), L.Conv2DTranspose(3, 2, strides=3, padding="same"), L.UpSampling2D((2, 1))),
    ((3, 4, 3, 2), L.Conv3D(2, 2, activation="relu"), L.MaxPooling3D(2), L.GlobalMaxPooling3D()),
    ((2, 5, 4), L.Conv2D(3, 2, data_format="channels_first"), L.Flatten(data_format="channels_first")),
]


@pytest.mark.parametrize("parts", SEQUENTIAL, ids=lambda parts: "-".join(type(p).__name__ for p in parts[1:]))
def test_sequential_models(parts):
    shape, *layers = parts
    layers = [layer.__class__.from_config(layer.get_config()) for layer in layers]
    model = sequential(shape, *layers)
    network = load_network(model)
    assert network.input_shape == shape
    assert network.output_shape == model.output_shape[1:]
    agree(model, network, shape)


def test_residual_and_merging_layers():
    x = keras.Input((4,))
    h = L.Dense(4, "relu")(x)
    h = L.Add()([h, x])
    h = L.Concatenate()([L.Subtract()([h, x]), L.Average()([h, x]), L.Maximum()([h, x, -h]), L.Minimum()([h, x])])
    h = 1.0 - 2.0 * keras.ops.relu(h / 3.0 + 0.1)
    model = randomised(keras.Model(x, L.Dense(2)(h)))
    agree(model, load_network(model), (4,))


def test_several_inputs_and_outputs_are_named():
    a, b = keras.Input((3,), name="a"), keras.Input((2, 2), name="b")
    shared = L.Dense(2, "relu", name="shared")
    h = L.Concatenate()([shared(L.Dense(3)(L.Flatten()(b))), shared(a)])
    model = randomised(keras.Model([a, b], [L.Dense(1, name="first")(h), L.Dense(2, name="second")(h)]))
    network = load_network(model)
    assert network.input_slices == {"a": slice(0, 3), "b": slice(3, 7)}
    assert network.output_slices == {"first": slice(0, 1), "second": slice(1, 3)}
    agree(model, network, (3,), (2, 2))


def test_nested_and_dict_models():
    inner = sequential((3,), L.Dense(2, "relu"), L.Dense(2))
    a, b = keras.Input((3,), name="a"), keras.Input((3,), name="b")
    model = keras.Model({"a": a, "b": b}, L.Add()([inner(a), inner(b)]))
    x = np.random.default_rng(0).normal(size=6)
    expected = keras.ops.convert_to_numpy(inner(x.reshape(2, 3))).sum(axis=0)
    np.testing.assert_allclose(load_network(model)(x), expected, rtol=1e-4, atol=1e-4)
    outer = keras.Sequential([keras.Input((3,)), inner, L.ReLU()])
    agree(outer, load_network(outer), (3,))


def test_a_fixed_batch_size():
    model = randomised(keras.Sequential([keras.Input(batch_shape=(4, 3)), L.Dense(2, "relu")]))
    x = np.random.default_rng(0).normal(size=(4, 3))
    np.testing.assert_allclose(load_network(model)(x), keras.ops.convert_to_numpy(model(x)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "final", [[L.Dense(3, "softmax")], [L.Dense(3), L.Softmax()], [L.Dense(3), L.Activation("sigmoid")]]
)
def test_logits(final):
    model = sequential((4,), L.Dense(5, "relu"), *final)
    with pytest.raises(UnsupportedOperatorError, match="logits=True"):
        load_network(model)
    network = load_network(model, logits=True)
    dense = final[0]
    hidden = np.maximum(np.arange(4.0) @ model.layers[0].kernel.numpy() + model.layers[0].bias.numpy(), 0.0)
    logits = hidden @ dense.kernel.numpy() + dense.bias.numpy()
    np.testing.assert_allclose(network(np.arange(4.0)), logits, rtol=1e-4, atol=1e-4)
    inside = sequential((4,), L.Dense(3, "softmax"), L.Dense(2))
    with pytest.raises(UnsupportedOperatorError, match="softmax"):
        load_network(inside, logits=True)


def functional_of_operators():
    x = keras.Input((4,))
    return randomised(keras.Model(x, keras.ops.tanh(L.Dense(4)(x)) + keras.ops.softplus(x) - keras.ops.sigmoid(x)))


@pytest.mark.parametrize(
    "make",
    [
        lambda: sequential((4,), L.Dense(5, "tanh"), L.Dense(3, "relu"), L.Dense(2, "softplus")),
        lambda: sequential((4,), L.Dense(5), L.Activation("sigmoid"), L.Dense(3, "sigmoid")),
        functional_of_operators,
    ],
)
def test_smooth_activations_are_read_on_request(make, tmp_path):
    model = make()
    network = load_network(model, smooth=True)
    assert isinstance(network, MixedNetwork)
    agree(model, network, (4,))
    with pytest.raises(UnsupportedOperatorError, match="smooth=True"):
        load_network(model)
    model.save(tmp_path / "net.keras")
    agree(model, load_network(tmp_path / "net.keras", smooth=True), (4,))


@keras.saving.register_keras_serializable("tests")
class Doubled(L.Dense):
    def call(self, x):
        return 2 * super().call(x)


class Subclassed(keras.Model):
    def call(self, x):
        return x


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: sequential((4,), L.Dense(2, "tanh", name="bad")), r"layer 'bad' \(Dense\) has the activation 'tanh'"),
        (lambda: sequential((4,), L.LayerNormalization(name="bad")), r"layer 'bad' \(LayerNormalization\) is not"),
        (lambda: sequential((4,), L.Dense(2, activation=L.ELU(name="bad"))), r"layer 'bad' \(ELU\)"),
        (lambda: sequential((4,), L.Lambda(lambda x: x)), "Lambda"),
        (lambda: sequential((4,), Doubled(2)), "class of its own"),
        (lambda: sequential((4,), L.Dense(2, lambda x: x)), "activation '<lambda>' of its own"),
        (lambda: sequential((4,), L.ReLU(threshold=1.0)), "threshold"),
        (lambda: sequential((4, 4, 1), L.AveragePooling2D(3, 2, padding="same")), "depends on Keras"),
        (lambda: sequential((4, 4, 1), L.UpSampling2D(2, interpolation="bilinear")), "interpolation"),
        (lambda: sequential((4, 4, 1), L.Conv2DTranspose(1, 3, strides=2, output_padding=1)), "output_padding"),
        (lambda: (lambda x: keras.Model(x, x * x))(keras.Input((2,))), "both depend on the input"),
        (lambda: (lambda x: keras.Model(x, keras.ops.exp(x)))(keras.Input((2,))), "Exp"),
        (Subclassed, "subclassed Keras model"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(model, message):
    with pytest.raises(UnsupportedOperatorError, match=message):
        load_network(model())


def test_models_without_shapes_or_with_nan():
    with pytest.raises(ReadError, match="no input shape yet"):
        load_network(keras.Sequential([L.Dense(2)]))
    with pytest.raises(ReadError, match=r"open shape \(None, 4\)"):
        load_network(sequential((None, 4), L.Dense(2)))
    model = sequential((2,), L.Dense(2))
    model.layers[0].kernel.assign([[1.0, np.nan], [0.0, 0.0]])
    with pytest.raises(ReadError, match=r"kernel' is not finite at \(0, 1\)"):
        load_network(model)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_files(tmp_path, suffix):
    model = sequential((4,), L.Dense(5, "relu"), L.BatchNormalization(), L.Dense(3, "softmax"))
    path = tmp_path / f"net{suffix}"
    model.compile(loss="mse")
    model.save(path)
    network = load_network(path, logits=True)
    x = np.random.default_rng(0).normal(size=(5, 4))
    np.testing.assert_allclose(network(x), load_network(model, logits=True)(x), rtol=1e-6, atol=1e-6)
    whole = path.read_bytes()
    for size in (1, 50, len(whole) // 2, len(whole) - 3):
        (tmp_path / f"cut{suffix}").write_bytes(whole[:size])
        with pytest.raises(ReadError, match="cut"):
            load_network(tmp_path / f"cut{suffix}")


def test_functional_files_with_operators(tmp_path):
    x = keras.Input((4,))
    model = randomised(keras.Model(x, L.Add()([L.Dense(4, "relu")(x), 2.0 * x - 1.0])))
    model.save(tmp_path / "net.keras")
    agree(model, load_network(tmp_path / "net.keras"), (4,))
    normal = L.Normalization()
    normal.adapt(np.random.default_rng(0).normal(3.0, 2.0, (50, 4)))
    regular = L.Dense(2, kernel_regularizer="l2", bias_constraint="non_neg", kernel_initializer="he_normal")
    model = keras.Sequential([keras.Input((4,)), normal, regular, L.PReLU(), L.Dense(1, activation=L.LeakyReLU())])
    model.save(tmp_path / "scaled.keras")
    agree(model, load_network(tmp_path / "scaled.keras"), (4,))


def test_files_with_weights_alone(tmp_path):
    sequential((4,), L.Dense(5)).save_weights(tmp_path / "net.weights.h5")
    with pytest.raises(ReadError, match="weights alone"):
        load_network(tmp_path / "net.weights.h5")


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("layer", ["lambda", "custom"])
def test_files_with_code_or_custom_classes_are_not_opened(tmp_path, suffix, layer, monkeypatch):
    bad = L.Lambda(lambda x: x) if layer == "lambda" else Doubled(2)
    path = tmp_path / f"net{suffix}"
    sequential((4,), bad).save(path)
    monkeypatch.setattr(keras.saving, "load_model", lambda *args, **kwargs: pytest.fail("Keras was given the file"))
    with pytest.raises(UnsupportedOperatorError, match=r"Lambda|Doubled"):
        load_network(path)


def edited(tmp_path, change):
    """A saved model whose configuration was changed by hand."""
    sequential((4,), L.Dense(2, "relu", name="dense")).save(tmp_path / "whole.keras")
    with zipfile.ZipFile(tmp_path / "whole.keras") as source, zipfile.ZipFile(tmp_path / "net.keras", "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name == "config.json":
                config = json.loads(content)
                change(config["config"]["layers"][1])
                content = json.dumps(config).encode()
            target.writestr(name, content)
    return tmp_path / "net.keras"


@pytest.mark.parametrize(
    "change",
    [
        {"module": "keras.utils", "class_name": "get_file"},
        {"module": "os", "class_name": "system"},
        {"module": "builtins", "class_name": "function", "config": "eval"},
        {"module": "keras.layers", "class_name": "TFSMLayer"},
        {"module": "keras.layers", "class_name": "Dense", "registered_name": "evil>Dense"},
        {"class_name": "__lambda__", "config": {"value": "abc"}},
    ],
)
@pytest.mark.parametrize("place", ["layer", "activation", "kernel_initializer"])
def test_configurations_that_name_other_objects_are_not_opened(tmp_path, change, place):
    def apply(layer):
        entry = {"config": {}, **change}
        if place == "layer":
            layer.update({**change})
        else:
            layer["config"][place] = entry

    with pytest.raises(UnsupportedOperatorError, match="not opened further"):
        load_network(edited(tmp_path, apply))


def test_archives_with_other_files_are_not_opened(tmp_path):
    path = edited(tmp_path, lambda layer: None)
    load_network(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("assets/../../evil.py", "")
    with pytest.raises(ReadError, match="beside the model"):
        load_network(path)


def test_a_backend_is_chosen_where_there_is_no_tensorflow(tmp_path):
    sequential((4,), L.Dense(2, "relu")).save(tmp_path / "net.keras")
    script = "import sys; from omlt_ext.readers import load_network; print(load_network(sys.argv[1]).n_outputs)"
    environment = {k: v for k, v in os.environ.items() if k != "KERAS_BACKEND"}
    run = [sys.executable, "-c", script, str(tmp_path / "net.keras")]
    done = subprocess.run(run, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "2\n", done.stderr
