"""What holds of every augmentation, eagerly and in `Dataset.map`, and the rules of their parameters."""

from inspect import signature
from math import sqrt

import numpy as np
import pytest
import tensorflow as tf

from helpers.pictures import apply, one_hot, pictures
from keras_resnet.checks import ArgumentError
from keras_resnet.data import VIEWS
from keras_resnet.data.augment import AUGMENTATIONS, augment
from keras_resnet.data.draws import Draws
from keras_resnet.data.parameters import PARAMETERS, RULES, VIEW_NAMES, expect_augmentations

MIXING = {"mixup", "cutmix"}

RECIPES = {
    "cifar10": {"pad_crop": 4, "flip": 0.5},
    "cifar100": {"flip": 0.1, "rotate": 10, "translate": 0.1, "erase": 0.1, "pad_crop": 4},
    "imagenet": {"flip": 0.5, "color": 0.1},
    "later": {"rand_augment": {"magnitude": 9, "num_ops": 2}, "mixup": {"alpha": 0.8, "rate": 0.5}, "cutmix": 1.0},
}


class TestEveryAugmentation:
    @pytest.mark.parametrize("steps", [*({name: {}} for name in AUGMENTATIONS), *RECIPES.values()], ids=str)
    def test_gives_the_same_eagerly_and_inside_a_map(self, steps):
        images, labels = pictures(8, 16, 20), one_hot(8, 5)

        def augmented(step):
            return augment(tf.constant(images), tf.constant(labels), Draws(3, step, 8), steps)

        batches = tf.data.Dataset.range(2).map(augmented, tf.data.AUTOTUNE)
        assert [spec.shape for spec in batches.element_spec] == [(8, 16, 20, 3), (8, 5)]
        for step, batch in enumerate(batches):
            for mapped, eager in zip(batch, augmented(step), strict=True):
                np.testing.assert_allclose(mapped, eager, atol=1e-3)
        assert np.any(batch[0] != images)
        assert np.any(batch[0] != augmented(0)[0])

    @pytest.mark.parametrize("name", sorted(AUGMENTATIONS.keys() - {"color"}))
    def test_takes_one_channel(self, name):
        assert apply(name, pictures(4, channels=1))[0].shape == (4, 32, 32, 1)

    @pytest.mark.parametrize("name", sorted(AUGMENTATIONS.keys() - MIXING))
    def test_gives_a_worker_the_rows_of_the_global_batch(self, name):
        images, labels = pictures(12), one_hot(12)
        everything = AUGMENTATIONS[name](images, labels, Draws(0, 1, 12))
        mine = AUGMENTATIONS[name](images[3:9], labels[3:9], Draws(0, 1, 12, slice(3, 9)))
        for whole, part in zip(everything, mine, strict=True):
            np.testing.assert_allclose(whole[3:9], part, atol=1e-3)

    @pytest.mark.parametrize("name", sorted(AUGMENTATIONS.keys() - MIXING))
    def test_leaves_labels_alone_unless_it_mixes(self, name):
        np.testing.assert_array_equal(apply(name, pictures(4))[1], one_hot(4))

    @pytest.mark.parametrize(
        "name", [name for name in AUGMENTATIONS if "rate" in signature(AUGMENTATIONS[name]).parameters]
    )
    def test_changes_the_share_of_the_images_that_rate_says(self, name):
        images = np.random.default_rng(0).uniform(1, 255, (1024, 8, 8, 3)).astype("float32")
        for rate in (0.0, 0.3):
            changed = np.any(apply(name, images, rate=rate)[0] != images, (1, 2, 3)).mean()
            everywhere = np.any(apply(name, images, rate=1.0)[0] != images, (1, 2, 3)).mean()
            assert abs(changed - rate * everywhere) <= 5 * sqrt(rate * (1 - rate) / 1024)

    @pytest.mark.parametrize(
        ("name", "parameters"),
        [
            ("pad_crop", {"padding": 0}),
            ("rotate", {"degrees": 0}),
            ("translate", {"share": 0}),
            ("color", {"stddev": 0}),
        ],
    )
    def test_asked_for_nothing_does_nothing(self, name, parameters):
        images = pictures(4)
        np.testing.assert_array_equal(apply(name, images, **parameters)[0], images)

    @pytest.mark.parametrize("name", ["pad_crop", "rotate", "translate", "erase", "cutout", "rand_augment"])
    def test_fills_each_channel_with_its_own_number(self, name):
        images = np.full((64, 16, 16, 3), 200, "float32")
        strong = {"rotate": {"degrees": 90}, "erase": {"rate": 1}, "rand_augment": {"magnitude": 30}}.get(name, {})
        filled = apply(name, images, fill=(10, 20.5, 30), **strong)[0]
        colors = {tuple(color) for color in np.round(filled, 3).reshape(-1, 3).tolist()}
        assert {(10, 20.5, 30), (200, 200, 200)} <= colors
        if name != "rand_augment":  # which changes colours too
            assert len(colors) == 2

    def test_refuses_a_fill_of_another_number_of_channels(self):
        with pytest.raises(tf.errors.InvalidArgumentError):
            apply("cutout", pictures(2, channels=1), fill=(1, 2, 3))


class TestTheirParameters:
    def test_have_a_rule_each_and_keep_it_by_default(self):
        used = set()
        for name, augmentation in AUGMENTATIONS.items():
            parameters = list(signature(augmentation).parameters.values())[3:]
            expect_augmentations("augment", {name: {parameter.name: parameter.default for parameter in parameters}})
            used |= {parameter.name for parameter in parameters}
        assert used == RULES.keys()

    def test_are_those_of_the_functions(self):
        parameters = {name: (*signature(function).parameters,)[3:] for name, function in AUGMENTATIONS.items()}
        assert parameters == PARAMETERS
        assert tuple(VIEWS) == VIEW_NAMES

    @pytest.mark.parametrize(
        "steps", [*RECIPES.values(), {"erase": {"scale": [0, 1], "fill": [1, 2, 3.5]}}, {}], ids=str
    )
    def test_that_are_right_are_taken(self, steps):
        expect_augmentations("augment", steps)

    @pytest.mark.parametrize(
        ("steps", "message"),
        [
            ("flip", "`augment`. Expected a mapping"),
            ({"flop": 1}, "the nearest are 'flip'"),
            ({"flip": 1.5}, r"`augment.flip.rate`. Expected a number in \[0, 1\]. Received: augment.flip.rate=1.5"),
            ({"flip": {"rat": 0.5}}, "`augment.flip`. Expected a known name; the nearest are 'rate'"),
            ({"flip": None}, "`augment.flip.rate`"),
            ({"pad_crop": -1}, "`augment.pad_crop.padding`. Expected an integer, at least 0"),
            ({"pad_crop": True}, "`augment.pad_crop.padding`"),
            ({"rotate": 181}, "`augment.rotate.degrees`"),
            ({"rotate": {"interpolation": "cubic"}}, "one of 'nearest', 'bilinear'"),
            ({"erase": {"scale": (0.5, 0.2)}}, "`augment.erase.scale`"),
            ({"erase": {"scale": (0, 1.1)}}, "`augment.erase.scale`"),
            ({"erase": {"ratio": (0, 1)}}, "`augment.erase.ratio`"),
            ({"erase": {"ratio": 1}}, "`augment.erase.ratio`"),
            ({"cutout": 0}, "`augment.cutout.size`"),
            ({"cutout": {"fill": "median"}}, "`augment.cutout.fill`"),
            ({"color": -0.1}, "`augment.color.stddev`"),
            ({"mixup": 0}, "`augment.mixup.alpha`"),
            ({"rand_augment": 31}, r"`augment.rand_augment.magnitude`. Expected a number in \[0, 30\]"),
            ({"rand_augment": {"num_ops": 0}}, "`augment.rand_augment.num_ops`"),
        ],
        ids=str,
    )
    def test_that_are_wrong_are_named(self, steps, message):
        with pytest.raises(ArgumentError, match=message):
            expect_augmentations("augment", steps)
