"""The precision in which a network trains fastest where it trains."""

import os

import keras
import tensorflow as tf

from keras_resnet.graph.tracing import walk
from keras_resnet.kernels.onednn import ONEDNN
from keras_resnet.machine import processor_flags
from keras_resnet.training.cluster import workers
from keras_resnet.training.peers import total

AUTO, WHOLE, HALF = "auto", "float32", "mixed_bfloat16"
FLAGS = {"avx512_bf16", "amx_bf16"}  # of processors that multiply bfloat16: others are slower with it
CAPABILITY = (8, 0)  # of the GPUs that do, from NVIDIA's Ampere on


def resolved(precision: str, strategy: tf.distribute.Strategy | None) -> str:
    """The precision itself, or for "auto" the fastest: that of the slowest worker, on all of them."""
    return precision if precision != AUTO else fastest(strategy)


def of_model(model: keras.Model) -> str:
    """The policy of the layers that compute in half precision, or float32."""
    return next((layer.dtype_policy.name for layer in walk(model) if layer.compute_dtype != WHOLE), WHOLE)


def fastest(strategy: tf.distribute.Strategy | None = None) -> str:
    """ "mixed_bfloat16" where the devices of every worker multiply bfloat16, else "float32"."""
    lacking = int(not multiplies_bfloat16())
    if strategy is not None and workers(strategy)[1] > 1:
        lacking = int(total(strategy, lacking))
    return WHOLE if lacking else HALF


def multiplies_bfloat16() -> bool:
    """Whether this process's GPUs, or else its processor by oneDNN, do."""
    if gpus := tf.config.get_visible_devices("GPU"):
        details = map(tf.config.experimental.get_device_details, gpus)
        return all(known.get("compute_capability", (0, 0)) >= CAPABILITY for known in details)
    return not FLAGS.isdisjoint(processor_flags()) and os.environ.get(ONEDNN) != "0"
