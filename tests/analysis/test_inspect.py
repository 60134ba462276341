"""What `keras_resnet.analysis` finds, against the same computed by hand and against the networks that it stands for."""

import re
import shlex
from importlib import import_module
from itertools import product
from math import comb
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from keras import layers

import keras_resnet
from keras_resnet import DenseNetConfig, FractalNetConfig, ResNetConfig, analysis, densenet, fractalnet, resnet
from keras_resnet.analysis import figures
from keras_resnet.analysis.gates import blocks, gated, gates, logits, opened
from keras_resnet.analysis.gradients import gradient_norms
from keras_resnet.analysis.measuring import subsets
from keras_resnet.cli import main
from keras_resnet.graph.tracing import walk

PIXELS = np.random.default_rng(0).integers(0, 256, (50, 8, 8, 3)).astype("uint8")
DATA = ((PIXELS, np.arange(50) % 3),) * 2
READING = dict(preprocessing="unit", batch_size=20)
SHAPE = (8, 8, 3)

ROWS = {
    "resnet": dict(stages=((4, 4), (8, 8)), shortcut="A"),
    "plain": dict(stages=((4, 4), (8, 8)), shortcut="none"),
    "bottleneck in groups, pre-activation": dict(
        stages=((8,), (16, 16)), branch="bottleneck", order="pre", groups=2, inner=0.5
    ),
    "pyramid": dict(stages=((5, 6), (7, 8)), shortcut="pyramid", order="pyramid", drop_path=0.5),
    "two branches, gated shortcuts": dict(stages=((4,), (8,)), shortcut="exclusive_gating", branches=2),
}


def shuffled(model):
    """With norms, too, that do something."""
    random = np.random.default_rng(1)
    for variable in model.weights:
        if len(variable.shape) == 1 and variable.dtype == "float32":
            variable.assign(random.uniform(0.5, 1.5, variable.shape))
    return model


def network(classifier_activation="softmax", **changes):
    keras.utils.set_random_seed(0)
    row = ResNetConfig(**{"stem_filters": 4, **ROWS["resnet"], **changes})
    return shuffled(resnet(row, classes=3, input_shape=SHAPE, classifier_activation=classifier_activation))


def dense():
    row = DenseNetConfig(stages=(2, 2), growth=4, stem_filters=4)
    return shuffled(densenet(row, classes=3, input_shape=SHAPE))


def nested(monkeypatch):
    """As the networks that are too deep for Keras are."""
    module = import_module("keras_resnet.networks.resnet")
    monkeypatch.setattr(module, "PART", 2)
    monkeypatch.setattr(module, "LONGEST_CHAIN", 0)
    return network(stages=((4,) * 3, (8,) * 3))


@pytest.fixture(scope="module")
def residual():
    return network()


@pytest.fixture(scope="module")
def plain():
    return network(shortcut="none")


def batch():
    return tf.constant(PIXELS / 255, tf.float32), tf.one_hot(DATA[0][1], 3)


def under(model, forward, backward=None):
    with gated(blocks(model), gates(forward, forward if backward is None else backward)):
        return np.asarray(model(batch()[0], training=False))


@pytest.mark.parametrize("name", [*ROWS, "dense"])
def test_a_network_with_all_gates_open_is_the_network(name):
    model = dense() if name == "dense" else network(**ROWS[name])
    found = under(model, opened(blocks(model)))
    np.testing.assert_array_equal(found, model(batch()[0], training=False))


def test_gates_are_gone_behind(residual):
    before = np.asarray(residual(batch()[0]))
    assert not np.array_equal(under(residual, np.zeros((4, 2), "float32")), before)
    np.testing.assert_array_equal(residual(batch()[0]), before)


def test_a_gate_for_the_gradient_does_not_change_what_is_computed(residual):
    found = under(residual, opened(blocks(residual)), np.zeros((4, 2), "float32"))
    np.testing.assert_array_equal(found, residual(batch()[0]))


def without(model, deleted, **changes):
    """A network that never had the block, with the other blocks' weights."""
    shorter = network(**changes)
    kept = [layer for layer in walk(model) if layer.weights and not layer.name.startswith(f"{deleted}_")]
    for layer, ours in zip(kept, [layer for layer in walk(shorter) if layer.weights], strict=True):
        ours.set_weights(layer.get_weights())
    return shorter


@pytest.mark.parametrize("changes", [{}, {"order": "pre"}, {"shortcut": "none"}], ids=["residual", "pre", "plain"])
def test_a_network_without_a_block_is_the_network_that_never_had_it(changes):
    model = network(stages=((4, 4), (8,)), **changes)
    left = opened(blocks(model))
    left[1] = 1, 0
    shorter = without(model, "stage1_block2", stages=((4,), (8,)), **changes)
    np.testing.assert_allclose(under(model, left), shorter(batch()[0]), rtol=1e-5)
    study = analysis.lesion(model, DATA, counts=[1], repeats=1, **READING)
    assert study.errors[1] == wrong(shorter)
    assert study.baseline == wrong(model)


def wrong(model):
    images, labels = batch()
    return np.mean(np.argmax(model(images), 1) != np.argmax(labels, 1))


@pytest.mark.parametrize("shortcut", ["A", "B"])
def test_a_deleted_block_that_changes_the_shape_keeps_its_shortcut(shortcut):
    model = network(shortcut=shortcut)
    left = opened(blocks(model))
    left[2] = 1, 0
    found = under(model, left)
    for variable in model.get_layer("stage2_block1_a2_norm").trainable_variables:
        variable.assign(0 * variable)
    np.testing.assert_allclose(found, model(batch()[0]), rtol=1e-6)


def test_a_plain_block_that_changes_the_shape_cannot_be_deleted(plain):
    study = analysis.lesion(plain, DATA, images=10, repeats=2, **READING)
    np.testing.assert_array_equal(np.isnan(study.errors), [False, False, True, False])
    assert study.counts == (1, 2, 3)
    assert [len(found) for found in study.several] == [2, 2, 1]  # of three blocks there is one set of three


def test_random_lesions_are_those_of_their_blocks(residual):
    study = analysis.lesion(residual, DATA, counts=[1, 4], repeats=4, **READING)
    np.testing.assert_array_equal(np.sort(study.several[0]), np.sort(study.errors))
    assert study.several[1] == [np.mean(np.argmax(under(residual, np.float32([[1, 0]] * 4)), 1) != DATA[0][1])]


def test_draws_are_seeded_and_without_repetition():
    among = list(range(10))
    first, again, other = (subsets(among, 5, 3, seed) for seed in (0, 0, 1))
    assert first == again != other
    assert all(len(set(drawn)) == 5 for drawn in first)
    assert len(subsets(among, 2, 45, 0)) == len(set(subsets(among, 2, 45, 0))) == 45


def test_responses_are_the_deviations_of_the_norms_outputs(residual):
    found = analysis.layer_responses(residual, DATA, **READING)
    convolutions = ["stem", *(f"stage{s}_block{b}_a{c}" for s, b, c in product((1, 2), (1, 2), (1, 2)))]
    assert found.names == tuple(f"{name}_conv" for name in convolutions)
    seen = keras.Model(residual.input, [residual.get_layer(f"{name}_norm").output for name in convolutions])
    np.testing.assert_allclose(found.stds, [np.std(y) for y in seen(batch()[0])], rtol=1e-5)


def test_responses_of_convolutions_without_a_norm_are_their_own():
    model = network(**ROWS["bottleneck in groups, pre-activation"])
    found = analysis.layer_responses(model, DATA, **READING)
    assert found.names == ("stem_conv", *(f"stage{at}_a2_conv" for at in ("1_block1", "2_block1", "2_block2")))
    seen = keras.Model(model.input, [model.get_layer(name).output for name in ("stem_conv", "stage2_block2_a2_norm")])
    np.testing.assert_allclose(found.stds[[0, -1]], [np.std(y) for y in seen(batch()[0])], rtol=1e-5)


def gradient(function, x):
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = function(x)
    return tape.gradient(y, x)


def loss(outputs):
    return tf.nn.softmax_cross_entropy_with_logits(batch()[1], outputs)


def mean_norm(x):
    return np.mean(np.linalg.norm(np.reshape(x, (len(x), -1)), axis=1))


@pytest.mark.parametrize("activation", ["softmax", None])
def test_gradients_are_those_of_the_network_cut_at_a_block(activation):
    model = network(activation)
    found = analysis.block_gradients(model, DATA, **READING)
    cut = model.get_layer("stage1_block2_out_relu").output
    head = model.get_layer("predictions")
    tail = keras.Model(cut, head.input)
    x = keras.Model(model.input, cut)(batch()[0])
    expected = mean_norm(gradient(lambda x: loss(tail(x) @ head.kernel + head.bias), x))
    assert found.names[2] == "stage2_block1"
    np.testing.assert_allclose(found.norms[2], expected, rtol=1e-5)


def test_without_shortcuts_the_gradient_is_the_branches(residual):
    found = analysis.block_gradients(residual, DATA, **READING)
    last = {name: residual.get_layer(f"stage2_block2_{name}") for name in ("a1_conv", "a2_norm", "out_relu")}
    branch = keras.Model(last["a1_conv"].input, last["a2_norm"].output)
    head = residual.get_layer("predictions")
    x = keras.Model(residual.input, last["a1_conv"].input)(batch()[0])

    def alone(x):
        y = tf.nn.relu(tf.stop_gradient(x) + branch(x))
        return loss(tf.reduce_mean(y, (1, 2)) @ head.kernel + head.bias)

    np.testing.assert_allclose(found.branches_alone[-1], mean_norm(gradient(alone, x)), rtol=1e-5)


def test_a_plain_network_has_no_shortcuts_to_do_without(plain):
    found = analysis.block_gradients(plain, DATA, images=10, **READING)
    np.testing.assert_array_equal(found.norms, found.branches_alone)


@pytest.mark.parametrize("name", ["resnet", "two branches, gated shortcuts", "dense"])
def test_the_gradients_of_all_paths_add_up_to_the_gradient(name):
    model = dense() if name == "dense" else network(**ROWS[name])
    parts, images = blocks(model), batch()[0]

    def along(backward):
        def outputs(x):
            with gated(parts, gates(opened(parts), backward)), logits(model):
                return loss(model(x, training=False))

        return gradient(outputs, images)

    choices = product(([1, 0], [0, 1]), repeat=len(parts))
    total = sum(along(np.float32(choice)) for choice in choices)
    expected = gradient(lambda x: loss(keras.ops.log(model(x))), images)
    np.testing.assert_allclose(total, expected, atol=1e-4 * np.abs(expected).max())


def test_path_gradients_are_the_means_over_all_paths_where_there_are_few(residual):
    found = analysis.path_gradients(residual, DATA, repeats=6, **READING)
    np.testing.assert_array_equal(found.lengths, range(5))
    np.testing.assert_allclose(found.shares, [comb(4, length) / 16 for length in range(5)])
    assert found.contributions.sum() == pytest.approx(1)
    norms = gradient_norms(residual, blocks(residual))
    ones = np.eye(4, dtype="float32")
    forward = opened(blocks(residual))
    paths = [norms(*batch(), gates(forward, np.stack([1 - one, one], -1)))[0] for one in ones]
    np.testing.assert_allclose(found.norms[1], np.mean(paths), rtol=1e-5)
    longest = norms(*batch(), gates(forward, np.float32([[0, 1]] * 4)))[0]
    np.testing.assert_allclose(found.norms[4], np.mean(longest), rtol=1e-5)


def test_nested_networks_are_inspected_as_flat_ones(monkeypatch):
    flat = network(stages=((4,) * 3, (8,) * 3))
    deep = nested(monkeypatch)
    assert any(isinstance(layer, keras.Model) for layer in deep.layers)
    deep.set_weights(flat.get_weights())
    for find in (analysis.layer_responses, analysis.block_gradients):
        ours, theirs = (find(model, DATA, images=20, **READING) for model in (deep, flat))
        assert ours.names == theirs.names
        np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-5)
    left = opened(blocks(flat))
    left[[1, 4]] = 1, 0
    np.testing.assert_allclose(under(deep, left), under(flat, left), rtol=1e-5)
    assert analysis.drawing(deep) == analysis.drawing(flat)


@pytest.mark.parametrize("activation", ["softmax", None])
def test_grad_cam_at_the_last_stage_is_the_class_activation_map(activation):
    """Zhou et al. 2016: with a pool and one dense layer, the gradients are its weights, over the pixels."""
    model = network(activation)
    found = analysis.grad_cam(model, PIXELS[0], 1, preprocessing="unit")
    assert (found.layer, found.class_index) == ("stage2_block2_out_relu", 1)
    maps = np.asarray(keras_resnet.features(model, (2,))(batch()[0][:1]))[0]
    kernel = np.asarray(model.get_layer("predictions").kernel)
    expected = np.maximum(maps @ kernel[:, 1], 0) / (maps.shape[0] * maps.shape[1])
    np.testing.assert_allclose(found.map, expected, rtol=1e-4, atol=1e-7)
    np.testing.assert_array_equal(found.image, PIXELS[0])
    assert found.heatmap.shape == (8, 8)
    assert found.heatmap.max() == pytest.approx(1)


def test_grad_cam_at_any_layer_is_what_the_paper_says(residual):
    found = analysis.grad_cam(residual, PIXELS[0], layer="stage1_block1_sum", preprocessing="unit")
    cut, head = residual.get_layer("stage1_block1_sum").output, residual.get_layer("predictions")
    x = keras.Model(residual.input, cut)(batch()[0][:1])
    tail = keras.Model(cut, head.input)
    likeliest = np.argmax(residual(batch()[0][:1]))
    weights = np.mean(gradient(lambda x: (tail(x) @ head.kernel + head.bias)[0, likeliest], x), (1, 2))
    np.testing.assert_allclose(found.map, np.maximum(np.sum(weights * np.asarray(x), -1)[0], 0), rtol=1e-4, atol=1e-6)
    assert found.class_index == likeliest


def test_grad_cam_sees_into_a_users_model():
    backbone = shuffled(resnet(ResNetConfig(stem_filters=4, **ROWS["resnet"]), include_top=False, input_shape=SHAPE))
    inputs = keras.Input(SHAPE)
    x = layers.GlobalAveragePooling2D()(backbone(layers.Rescaling(1 / 255)(inputs)))
    users = keras.Model(inputs, layers.Softmax()(layers.Dense(3, name="theirs")(layers.Dropout(0.5)(x))))
    found = analysis.grad_cam(users, PIXELS[0], 2, preprocessing="none")
    maps = np.asarray(backbone(batch()[0][:1]))[0]
    expected = np.maximum(maps @ np.asarray(users.get_layer("theirs").kernel)[:, 2], 0) / 16
    np.testing.assert_allclose(found.map, expected, rtol=1e-4, atol=1e-7)


def test_feature_maps_are_the_stages_output(residual):
    found = analysis.feature_maps(residual, PIXELS[3], 1, preprocessing="unit")
    expected = keras.Model(residual.input, residual.get_layer("stage1_block2_out_relu").output)(batch()[0][3:4])
    np.testing.assert_allclose(found, expected[0], rtol=1e-5, atol=1e-5)


def test_samples_are_spread_over_the_split(residual):
    ((images, labels),) = analysis.sample(residual, DATA, images=5, preprocessing="none")
    np.testing.assert_array_equal(images, PIXELS[5::10].astype("float32"))
    np.testing.assert_array_equal(np.argmax(labels, 1), DATA[0][1][5::10])
    np.testing.assert_array_equal(analysis.example(DATA, 7, "train"), PIXELS[7])


def test_a_drawing_folds_equal_blocks():
    model = network(stages=((4,) * 5, (8,) * 3))
    boxes = analysis.drawing(model)
    assert [(box.name, box.times, box.shortcut) for box in boxes] == [
        ("stem", 1, None), ("stage1_block1", 5, "identity"), ("stage2_block1", 1, "zero channels"),
        ("stage2_block2", 2, "identity"), ("head", 1, None), ("predictions", 1, None)
    ]  # fmt: skip
    assert boxes[2].convolutions == ("3x3, 8, /2", "3x3, 8")
    assert boxes[2].output_shape == (4, 4, 8)


def test_a_drawing_shows_how_widths_grow():
    boxes = analysis.drawing(network(**ROWS["pyramid"]))
    assert boxes[1].times == 2
    assert boxes[1].convolutions == ("3x3, 5 … 6", "3x3, 5 … 6")


def test_a_drawing_of_a_dense_network_shows_its_transitions():
    boxes = {box.name: box for box in analysis.drawing(dense())}
    assert boxes["stage1_block1"].times == 2
    assert boxes["stage1_block1"].shortcut == "concatenated"
    assert boxes["stage2_in"].convolutions == ("1x1, 12", "2x2 pool, /2")


@pytest.mark.parametrize(
    ("name", "depth"),
    [
        ("resnet20", 9),
        *(pytest.param(*row, marks=pytest.mark.slow) for row in [("resnet152", 50), ("resnet1202", 600)]),
    ],
)
def test_a_drawing_fits_on_a_page(name, depth, tmp_path):
    boxes = analysis.drawing(keras_resnet.build(name))
    assert sum(box.times for box in boxes if "block" in box.name) == depth
    assert len(boxes) <= 12
    drawn = analysis.draw_network(boxes, name)
    assert drawn.get_figheight() <= figures.PAGE
    analysis.save(drawn, tmp_path / "drawing.png")
    assert (tmp_path / "drawing.png").stat().st_size > 10_000


def fractal():
    return fractalnet(FractalNetConfig(stages=(4, 8), columns=2), classes=3, input_shape=SHAPE)


@pytest.mark.parametrize("find", [analysis.lesion, analysis.block_gradients, analysis.path_gradients])
def test_what_has_no_blocks_is_refused(find):
    with pytest.raises(ValueError, match=r"`model`. Expected a network of blocks"):
        find(fractal(), DATA, **READING)


def test_a_fractal_network_has_responses_features_and_a_drawing():
    model = fractal()
    assert len(analysis.layer_responses(model, DATA, images=10, **READING).names) == 6
    assert analysis.feature_maps(model, PIXELS[0], 1, preprocessing="unit").shape == (8, 8, 4)
    assert [box.name for box in analysis.drawing(model)][:2] == ["stage1", "stage2_in"]


REFUSED = {
    "images": lambda m: analysis.layer_responses(m, DATA, images=0, **READING),
    "batch_size": lambda m: analysis.layer_responses(m, DATA, preprocessing="unit", batch_size=1.5),
    "split": lambda m: analysis.layer_responses(m, DATA, split="dev", **READING),
    "data": lambda m: analysis.block_gradients(m, "digits", **READING),
    "preprocessing": lambda m: analysis.block_gradients(m, DATA),
    "counts": lambda m: analysis.lesion(m, DATA, counts=[5], **READING),
    "repeats": lambda m: analysis.lesion(m, DATA, repeats=0, **READING),
    "seed": lambda m: analysis.path_gradients(m, DATA, seed=-1, **READING),
    "target": lambda m: analysis.grad_cam(m, PIXELS[0], 3, preprocessing="unit"),
    "layer": lambda m: analysis.grad_cam(m, PIXELS[0], layer="predictions", preprocessing="unit"),
    "image": lambda m: analysis.grad_cam(m, PIXELS, preprocessing="unit"),
    "stages": lambda m: analysis.feature_maps(m, PIXELS[0], 3, preprocessing="unit"),
    "number": lambda m: analysis.example(DATA, 50),
    "model": lambda m: analysis.drawing(keras.Sequential([keras.Input((3,)), layers.Dense(2, name="theirs")])),
}


@pytest.mark.parametrize("argument", REFUSED)
def test_wrong_arguments_are_named(argument, residual):
    with pytest.raises(ValueError, match=f"Invalid value for argument `{argument}`"):
        REFUSED[argument](residual)


def test_a_plain_network_has_no_paths_to_choose_from(plain):
    with pytest.raises(ValueError, match=r"`model`. Expected a network with shortcuts"):
        analysis.path_gradients(plain, DATA, **READING)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for name, shortcut in (("residual", "A"), ("plain", "none")):
        row = ResNetConfig(stem_filters=4, stages=((4, 4),), shortcut=shortcut)
        (folder / name).mkdir()
        resnet(row, classes=10, input_shape=(8, 8, 1)).save(folder / name / "model.keras")
    return folder


COMMANDS = {
    "responses": ["residual", "plain", "--data", "digits"],
    "gradients": ["residual", "plain", "--data", "digits"],
    "lesion": ["residual", "plain", "--data", "digits", "--count", "1", "--repeats", "1"],
    "paths": ["residual", "--data", "digits", "--repeats", "1"],
    "cam": ["residual", "--data", "digits", "--number", "5", "--class", "3"],
    "features": ["residual", "--data", "digits"],
    "drawing": ["residual"],
}


def run(what, files, output, *more):
    arguments = [
        str(files / word / "model.keras") if word in ("residual", "plain") else word for word in COMMANDS[what]
    ]
    read = ["--preprocessing", "unit"] if "--data" in arguments else []
    read += ["--images", "20"] if what in ("responses", "gradients", "lesion", "paths") else []
    return CliRunner().invoke(main, ["inspect", what, *arguments, *read, *more, "--output", str(output)])


@pytest.mark.parametrize("what", COMMANDS)
def test_commands_draw_and_print_what_they_find(what, files, tmp_path):
    result = run(what, files, tmp_path / "figure.png")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert ("stage1_block1" if what == "drawing" else "residual") in result.stdout


def test_every_command_is_tested():
    assert set(main.get_command(None, "inspect").commands) == set(COMMANDS)


@pytest.mark.parametrize("output", ["there.png", "figure.txt", "nowhere/figure.png"])
def test_a_figure_that_cannot_be_written_is_refused_at_once(output, files, tmp_path):
    (tmp_path / "there.png").write_text("mine")
    result = run("drawing", files, tmp_path / output)
    assert result.exit_code == 2
    assert "Invalid value for argument `output`" in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["there.png"]
    assert (tmp_path / "there.png").read_text() == "mine"


def test_an_image_is_a_file_or_one_of_the_data(files, tmp_path):
    result = run("cam", files, tmp_path / "figure.png", "--image", str(files / "plain" / "model.keras"))
    assert result.exit_code == 2
    assert "either --image or --data" in result.output


def test_the_overlay_is_the_image_where_the_network_sees_nothing():
    cam = analysis.Cam(PIXELS[0], np.zeros((8, 8), "float32"), np.zeros((4, 4), "float32"), 0, "layer")
    blue = np.round(0.5 * PIXELS[0] + 0.5 * np.array([0, 0, 127.5])).astype(int)
    np.testing.assert_allclose(analysis.overlay(cam), blue, atol=1)


PAGE = Path(__file__).parents[2] / "docs" / "inspect.md"


def test_every_figure_of_the_page_has_its_command():
    text = PAGE.read_text()
    commands = [shlex.split(line) for line in re.findall(r"^keras-resnet (inspect .*)$", text, re.MULTILINE)]
    outputs = [command[command.index("--output") + 1] for command in commands]
    assert re.findall(r"!\[.*?\]\((.*?)\)", text) == [output.removeprefix("docs/") for output in outputs]
    assert {command[1] for command in commands} == set(COMMANDS)
    for _, what, *rest in commands:
        known = {flag for option in main.get_command(None, "inspect").commands[what].params for flag in option.opts}
        assert {word for word in rest if word.startswith("--")} <= known
