"""Networks that skip what they drop learn what those learn that compute it and multiply by nothing."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_resnet
from keras_resnet.graph.skipping import WHOLE_BATCH, drops_batches, runs_of

IMAGES = np.random.default_rng(0).normal(size=(4, 16, 16, 3)).astype("float32")
LABELS = np.arange(4)
SMALL = dict(stages=((8, 8), (16, 16)), stem_filters=8, drop_path=0.6, drop_path_per="batch")
NETWORKS = {
    "resnet20": {},
    "resnet110v2": {},
    "resnet164v2": dict(shortcut="B", se_ratio=4),
    "multiresnet200_k5": dict(branches=3),
}

MORE = [name for name in NETWORKS if name != "resnet20"]


def built(name="resnet20", **changes):
    keras.utils.set_random_seed(1)
    return keras_resnet.build(name, input_shape=(16, 16, 3), **(SMALL | NETWORKS[name] | changes))


def unskipped(model):
    """Another model of the same layers: Keras' own, which computes every path."""
    return keras.Model(model.input, model.output)


def gradients(model, eager=False):
    def step():
        with tf.GradientTape() as tape:
            outputs = model(IMAGES, training=True)
            loss = tf.reduce_sum(keras.losses.sparse_categorical_crossentropy(LABELS, outputs))
        return outputs, tape.gradient(loss, model.trainable_variables, unconnected_gradients="zero")

    return step if eager else tf.function(step)


def assert_same(actual, expected):
    for ours, theirs in zip(keras.tree.flatten(actual), keras.tree.flatten(expected), strict=True):
        np.testing.assert_allclose(np.asarray(ours, "float32"), np.asarray(theirs, "float32"), rtol=1e-4, atol=1e-5)


def drops(model):
    return [layer for layer in model.layers if drops_batches(layer)]


def norms_of(drop, model):
    return [
        layer
        for layer in model.layers
        if layer.name.startswith(drop.name.removesuffix("_drop_path")) and layer.name.endswith("_norm")
    ]


@pytest.mark.parametrize("name", ["resnet20", *(pytest.param(name, marks=pytest.mark.slow) for name in MORE)])
def test_a_step_gives_the_outputs_and_gradients_of_one_that_computes_every_path(name):
    skipping, computing = built(name), unskipped(built(name))
    ours, theirs = gradients(skipping), gradients(computing)
    for _ in range(3):  # another draw each
        assert_same(ours(), theirs())


@pytest.mark.parametrize("eager", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_statistics_of_a_dropped_path_stay_and_those_of_a_kept_one_move(eager):
    model = built()
    step, dropped = gradients(model, eager), set()
    for _ in range(4):
        computing = unskipped(built())
        before = {drop: [norm.moving_mean.numpy() for norm in norms_of(drop, model)] for drop in drops(model)}
        for ours, theirs in zip(drops(model), drops(computing), strict=True):
            theirs.seed_generator.state.assign(ours.seed_generator.state)
        drawn = [drop(np.ones(WHOLE_BATCH, "float32"), training=True).numpy().item() for drop in drops(computing)]
        step()
        for drop, scale in zip(drops(model), drawn, strict=True):
            moved = [
                np.any(norm.moving_mean != old) for norm, old in zip(norms_of(drop, model), before[drop], strict=True)
            ]
            assert moved == [scale > 0] * len(moved)
            dropped.add(scale > 0)
    assert dropped == {True, False}


def test_what_is_dropped_is_not_computed():
    """All but the last block's paths stand in branches of conditions."""
    model = built(shortcut="A")
    graph = gradients(model).get_concrete_function().graph
    operations = [op.type for op in graph.get_operations()]
    assert operations.count("Conv2D") == 1  # the stem's
    assert operations.count("If") >= len(drops(model)) == 4


def test_a_path_is_all_that_nothing_else_reads():
    model = built("resnet110v2", shortcut="B")
    paths = [
        [node.operation.name for node in nodes] for nodes, run in runs_of(model) if nodes[-1].operation in drops(model)
    ]
    assert [len(path) for path in paths] == [7, 7, 6, 7]  # a projection reads what the third norm and relu made
    assert paths[2][0] == "stage2_block1_a1_pad"


def test_fit_learns_the_same():
    weights = []
    for model in (built(), unskipped(built())):
        model.compile("sgd", "sparse_categorical_crossentropy")
        model.fit(IMAGES, LABELS, epochs=2, batch_size=2, shuffle=False, verbose=0)
        weights.append([weight.numpy() for weight in model.trainable_weights])
    assert_same(*weights)


def test_a_loaded_file_skips_and_is_one_of_stock_layers(tmp_path):
    model = built()
    model.save(tmp_path / "net.keras")
    assert keras_resnet.load_model(tmp_path / "net.keras").skips
    assert not hasattr(keras.models.load_model(tmp_path / "net.keras"), "skips")


def test_nested_blocks_skip_too(monkeypatch):
    from keras_resnet.networks import resnet

    monkeypatch.setattr(resnet, "PART", 2)
    monkeypatch.setattr(resnet, "LONGEST_CHAIN", 1)
    nested = built(stages=((8, 8, 8),))
    assert nested.get_layer("stage1_block2_to_3").skips
    assert_same(gradients(nested)(), gradients(unskipped(built(stages=((8, 8, 8),))))())


def test_inference_counts_and_names_are_those_of_a_network_that_drops_samples():
    per_batch, per_sample = built(), built(drop_path_per="sample")
    assert [layer.name for layer in per_batch.layers[1:]] == [layer.name for layer in per_sample.layers[1:]]
    assert keras_resnet.complexity(per_batch) == keras_resnet.complexity(per_sample)
    assert_same(per_batch(IMAGES), per_sample(IMAGES))


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(policy):
    default = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        skipping, computing = built(), unskipped(built())
    finally:
        keras.config.set_dtype_policy(default)
    assert_same(gradients(skipping)(), gradients(computing)())


@pytest.mark.slow
def test_replicas_drop_the_same_paths_and_move_the_statistics_of_the_others():
    code = """
import json, numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import keras, keras_resnet
from keras_resnet.training import distribute
keras.utils.set_random_seed(0)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    config = keras_resnet.ResNetConfig(
        stages=((8, 8), (16, 16)), stem_filters=8, drop_path=0.6, drop_path_per="batch"
    )
    model = keras_resnet.resnet(config, input_shape=(16, 16, 3))
    distribute.synchronized(model)
    model.compile("sgd", "sparse_categorical_crossentropy")
norms = {layer.name: layer.moving_mean.value for layer in model.layers if layer.name[-7:] in ("a1_norm", "a2_norm")}
def means():
    return {name: [mean.numpy() for mean in strategy.experimental_local_results(mean)] for name, mean in norms.items()}
images = np.random.default_rng(0).normal(size=(8, 16, 16, 3)).astype("float32")
for _ in range(4):
    before = means()
    model.train_on_batch(images, np.arange(8))
    after = means()
    print(json.dumps({name: [bool((a != b).any()) for a, b in zip(after[name], before[name])] for name in norms}))
    assert all((mean[0] == mean[1]).all() for mean in after.values())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    steps = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    for step in steps:
        for name in step:
            assert step[name] == step[name.replace("a2", "a1")]
            assert len(set(step[name])) == 1
    assert {moved for step in steps for replicas in step.values() for moved in replicas} == {True, False}


def test_remat_is_refused():
    with pytest.raises(ValueError, match=r"remat.*drop_path_per='batch'"):
        built(remat=True)
