"""Which precision "auto" stands for, and what of a training is in it."""

import keras
import pytest
import tensorflow as tf

import keras_resnet
from helpers.trained import FEW
from keras_resnet import machine
from keras_resnet.experiment import Run
from keras_resnet.experiment.resolved import Resolved
from keras_resnet.training import RECIPES, Recipe, check_fit, precision
from keras_resnet.training.train import compiled


def on_processor(monkeypatch, *flags):
    monkeypatch.setattr(precision, "processor_flags", lambda: frozenset({"avx512f", *flags}))


def on_gpu(monkeypatch, *capabilities):
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: list(capabilities))
    details = lambda capability: {"compute_capability": capability} if capability else {}  # noqa: E731
    monkeypatch.setattr(tf.config.experimental, "get_device_details", details)


class TestAuto:
    @pytest.mark.parametrize("flag", ["avx512_bf16", "amx_bf16"])
    def test_is_bfloat16_on_processors_that_multiply_it(self, flag, monkeypatch):
        monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)
        on_processor(monkeypatch, flag)
        assert precision.fastest() == "mixed_bfloat16"
        monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")  # without oneDNN, TensorFlow does not
        assert precision.fastest() == "float32"

    def test_is_float32_on_others(self, monkeypatch):
        on_processor(monkeypatch)
        assert precision.fastest() == "float32"

    @pytest.mark.parametrize(
        ("capabilities", "expected"),
        [
            ([(9, 0)], "mixed_bfloat16"),
            ([(8, 0), (8, 6)], "mixed_bfloat16"),
            ([(8, 0), (7, 5)], "float32"),
            ([None], "float32"),
        ],
    )
    def test_is_bfloat16_where_all_gpus_have_tensor_cores_for_it(self, capabilities, expected, monkeypatch):
        on_processor(monkeypatch)
        on_gpu(monkeypatch, *capabilities)
        assert precision.fastest() == expected

    @pytest.mark.parametrize(("lacking", "expected"), [(0, "mixed_bfloat16"), (1, "float32")])
    def test_is_what_all_workers_have(self, lacking, expected, monkeypatch):
        on_processor(monkeypatch, "amx_bf16")
        monkeypatch.setattr(precision, "workers", lambda strategy: (0, 3))
        monkeypatch.setattr(precision, "total", lambda strategy, own: own + lacking)
        assert precision.fastest(strategy="three workers") == expected

    def test_is_the_default_of_quick_recipes_and_the_papers_stay_whole(self):
        quick = {name for name, recipe in RECIPES.items() if recipe.precision == "auto"}
        assert quick == {"digits", "fast", "finetune"}
        assert {recipe.precision for recipe in RECIPES.values()} == {"auto", "float32"}

    def test_of_a_model_that_is_built_is_that_of_its_layers(self):
        default = keras.config.dtype_policy()
        for policy in ("float32", "mixed_bfloat16"):
            keras.config.set_dtype_policy(policy)
            try:
                model = keras_resnet.build("resnet20", input_shape=FEW.shape, stages=((16,),))
            finally:
                keras.config.set_dtype_policy(default)
            recipe = Recipe(epochs=1, batch_size=16, precision="auto")
            assert check_fit(model, FEW, recipe).recipe.precision == policy

    def test_is_as_fast_as_the_machine_says(self):
        known = "mixed_bfloat16" if precision.FLAGS & machine.processor_flags() else "float32"
        assert precision.resolved("auto", None) == known or tf.config.get_visible_devices("GPU")
        assert precision.resolved("mixed_float16", None) == "mixed_float16"


def test_statistics_loss_weights_and_optimizer_stay_in_float32():
    run = Run(network="resnet20", data="digits", config={"stages": ((16,),)})
    resolved = Resolved.of(run, FEW).in_precision("mixed_bfloat16")
    model, _ = compiled(resolved.build(None), resolved.recipe, steps=1)
    assert model.get_layer("stage1_block1_a1_conv").compute_dtype == "bfloat16"
    assert {variable.dtype for variable in model.weights} == {"float32"}
    assert {variable.dtype for variable in model.optimizer.variables[2:]} <= {"float32"}
    assert model.outputs[0].dtype == "float32"
