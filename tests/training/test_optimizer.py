"""The optimizer against torch's, and the rates against written-out arrays."""

import keras
import numpy as np
import pytest

from helpers.live import live
from keras_resnet.training import RECIPES, Recipe
from keras_resnet.training.optimizer import SGD, Held, HoldUntil, learning_rate, optimizer

RNG = np.random.default_rng(0)
GRADIENTS = RNG.normal(size=(20, 5, 3)).astype("float32")
START = RNG.normal(size=(5, 3)).astype("float32")
RATES = [0.1] * 8 + [0.01] * 12  # a drop in the middle: it is there that Keras' own velocity differs from torch's
KINDS = [
    (0.0, False, 0.0),
    (0.9, False, 0.0),
    (0.9, True, 0.0),
    (0.9, False, 1e-2),
    (0.9, True, 5e-2),
    (0.0, False, 0.1),
]


def ours(momentum, nesterov, decay, **options):
    kernel = keras.Variable(START, name="kernel")
    sgd = SGD(RATES[0], momentum, nesterov, l2=decay, **options)
    sgd.build([kernel])
    for rate, gradient in zip(RATES, GRADIENTS, strict=True):
        sgd.learning_rate = rate
        sgd.apply([keras.ops.convert_to_tensor(gradient)], [kernel])
    return keras.ops.convert_to_numpy(kernel)


def written_out(momentum, nesterov, decay):
    """torch.optim.SGD's documentation, line by line, in float64."""
    w, velocity = START.astype("float64"), np.zeros((5, 3))
    for rate, gradient in zip(RATES, GRADIENTS, strict=True):
        g = gradient + decay * w
        velocity = momentum * velocity + g
        w = w - rate * (g + momentum * velocity if nesterov else velocity)
    return w


class TestSGD:
    @pytest.mark.parametrize("kind", KINDS)
    def test_is_torchs_as_documented(self, kind):
        np.testing.assert_allclose(ours(*kind), written_out(*kind), atol=1e-6)

    @pytest.mark.slow
    @pytest.mark.parametrize("kind", KINDS)
    def test_is_torchs(self, kind):
        torch = live("torch")
        momentum, nesterov, decay = kind
        w = torch.nn.Parameter(torch.tensor(START.copy()))
        sgd = torch.optim.SGD([w], RATES[0], momentum, nesterov=nesterov, weight_decay=decay)
        for rate, gradient in zip(RATES, GRADIENTS, strict=True):
            sgd.param_groups[0]["lr"], w.grad = rate, torch.tensor(gradient)
            sgd.step()
        np.testing.assert_allclose(ours(*kind), w.detach().numpy(), atol=1e-6)

    def test_differs_from_keras_own(self):
        """Which is why it exists: with a falling rate, and with a weight decay."""
        kernel = keras.Variable(START)
        sgd = keras.optimizers.SGD(RATES[0], 0.9)
        sgd.build([kernel])
        for rate, gradient in zip(RATES, GRADIENTS, strict=True):
            sgd.learning_rate = rate
            sgd.apply([keras.ops.convert_to_tensor(gradient)], [kernel])
        assert np.abs(keras.ops.convert_to_numpy(kernel) - written_out(0.9, False, 0.0)).max() > 1e-2

    @pytest.mark.parametrize(
        ("decays", "shrunk"), [("all", {"kernel", "gamma", "beta", "bias"}), ("kernels", {"kernel"})]
    )
    def test_decays_what_it_should(self, decays, shrunk):
        variables = [keras.Variable(np.ones(2, "float32"), name=name) for name in ("kernel", "gamma", "beta", "bias")]
        sgd = SGD(0.1, l2=0.5, decays=decays)
        sgd.build(variables)
        sgd.apply([keras.ops.zeros(2) for _ in variables], variables)
        assert {v.name for v in variables if keras.ops.convert_to_numpy(v)[0] < 1} == shrunk

    def test_can_be_saved(self):
        sgd = SGD.from_config(SGD(0.1, 0.9, True, l2=0.5, decays="kernels").get_config())
        assert (sgd.momentum, sgd.nesterov, sgd.l2, sgd.decays) == (0.9, True, 0.5, "kernels")

    def test_accumulates_and_clips_through_keras_options(self):
        recipe = Recipe(epochs=1, lr=1.0, momentum=0.0, clip_norm=1.0, accumulate=2, schedule="constant")
        kernel, sgd = keras.Variable(np.zeros(2, "float32"), name="kernel"), optimizer(recipe, 1.0)
        sgd.build([kernel])
        steps = []
        for gradient in ([6.0, 0.0], [0.0, 8.0]):  # the mean is (3, 4), of norm 5
            sgd.apply([keras.ops.convert_to_tensor(np.float32(gradient))], [kernel])
            steps.append(keras.ops.convert_to_numpy(kernel).tolist())
        np.testing.assert_allclose(steps, [[0, 0], [-0.6, -0.8]], atol=1e-6)


class TestLearningRates:
    @pytest.mark.parametrize(
        ("recipe", "expected"),
        [
            (Recipe(epochs=1, lr=1.0), {0: 1, 49: 1, 50: 0.1, 74: 0.1, 75: 0.01, 99: 0.01}),
            (Recipe(epochs=1, lr=1.0, warmup=0.1), {0: 0.1, 4: 0.5, 9: 1, 10: 1, 49: 1, 50: 0.1, 75: 0.01}),
            (Recipe(epochs=1, lr=1.0, warmup=0.1, warmup_lr=0.3), {0: 0.3, 9: 0.3, 10: 1, 50: 0.1}),
            (Recipe(epochs=1, lr=1.0, drops=(0.3, 0.6, 0.8), factor=0.2), {29: 1, 30: 0.2, 60: 0.04, 80: 0.008}),
            (Recipe(epochs=1, lr=2.0, schedule="cosine"), {0: 2, 25: 1 + 2**-0.5, 50: 1, 100: 0}),
            (Recipe(epochs=1, lr=2.0, schedule="cosine", warmup=0.2), {0: 0.1, 19: 2, 20: 2, 60: 1, 100: 0}),
            (Recipe(epochs=1, lr=2.0, schedule="linear", warmup=0.2), {9: 1, 20: 2, 40: 1.5, 60: 1, 100: 0}),
            (Recipe(epochs=1, lr=2.0, schedule="constant"), {0: 2, 99: 2}),
        ],
    )
    def test_are_as_written_out_over_100_steps(self, recipe, expected):
        rate = learning_rate(recipe, 100)
        assert {step: float(rate(step)) for step in expected} == pytest.approx(expected, abs=1e-6)

    @pytest.mark.parametrize("name", ["he2015_cifar", "he2016_cifar"])
    def test_the_papers_steps(self, name):
        recipe = RECIPES[name]
        steps = recipe.epochs * recipe.steps_per_epoch
        rate = learning_rate(recipe, steps)
        assert steps == 64_000
        first = 0.01 if name == "he2016_cifar" else 0.1
        expected = {0: first, 399: first, 400: 0.1, 31_999: 0.1, 32_000: 0.01, 47_999: 0.01, 48_000: 0.001}
        assert {step: float(rate(step)) for step in expected} == pytest.approx(expected)

    def test_fractalnets_rate_falls_whenever_the_rest_halves(self):
        rate = learning_rate(RECIPES["fractalnet"], 400)
        expected = {199: 2e-2, 200: 2e-3, 300: 2e-4, 350: 2e-5, 375: 2e-6}
        assert {step: float(rate(step)) for step in expected} == pytest.approx(expected)

    def test_is_held_until_the_training_error_has_fallen(self):
        rate = learning_rate(RECIPES["he2015_cifar_110"], 64_000)
        assert isinstance(rate, Held)
        holder, seen = HoldUntil(rate, 0.8), []
        for accuracy in (0.1, 0.2, 0.21, 0.15):  # below 80 % is not at 80 %
            holder.on_train_batch_begin(0)
            seen.append(float(rate(0)))
            holder.on_train_batch_end(0, {"accuracy": accuracy})
        assert seen == pytest.approx([0.01, 0.01, 0.01, 0.1])

    def test_a_plateau_lowers_a_plain_number(self):
        assert learning_rate(RECIPES["he2015_imagenet"], 10) == 0.1
