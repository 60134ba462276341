"""The deepest networks build, train, and are loaded by Keras alone, where Python's recursion limit is in the way."""

import keras
import numpy as np
import pytest
from keras import layers

from helpers.plain_keras import outputs_of_files
from keras_resnet import build, portable
from keras_resnet.graph.tracing import walk

NETWORKS = [  # nested and flat
    *[pytest.param(name, marks=pytest.mark.slow) for name in ("resnet1202", "resnet1001")],
    *[pytest.param(name, marks=pytest.mark.exhaustive) for name in ("plain1202", "resnet1001v2")],
]


@pytest.mark.parametrize("name", NETWORKS)
def test_the_deepest_networks_train_and_load_without_this_package(name, tmp_path):
    keras.utils.set_random_seed(0)
    model = build(name, classifier_activation=None)
    norms = [layer for layer in walk(model) if isinstance(layer, layers.BatchNormalization)]
    images = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
    for norm in norms:
        norm.momentum = 0.0  # the statistics are then those of one batch
    model(images, training=True)
    for norm in norms:  # differences by rounding shrink from norm to norm, where 1,200 plain layers made them overflow
        norm.moving_variance.assign(2 * norm.moving_variance)
    expected = np.asarray(model(images))
    assert np.all(np.isfinite(expected))

    model.save(tmp_path / "own.keras")
    portable(model).save(tmp_path / "portable.keras")
    for output in outputs_of_files(tmp_path, images).values():
        np.testing.assert_allclose(output, expected, rtol=0, atol=1e-5 * np.abs(expected).max())

    # Only the classifier is looked at: through 1,200 plain layers float32 gradients overflow, as batch norm makes them.
    classifier = model.get_layer("predictions").kernel
    before = np.asarray(classifier)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(1e-3), loss, jit_compile=False)
    assert np.isfinite(model.train_on_batch(images, np.array([0, 1])))
    assert np.all(np.isfinite(classifier))
    assert not np.array_equal(classifier, before)
