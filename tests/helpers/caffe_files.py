"""Writes `.caffemodel` files as Caffe does, in either generation of its layers."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from keras_resnet.weights.caffe import LEGACY_SHAPE, messages

GENERATIONS = ("layer", "layers")  # the newer one, and V1
V1_TYPES = {
    "Convolution": 4, "Data": 5, "InnerProduct": 14, "Pooling": 17, "ReLU": 18, "Softmax": 20, "Split": 22,
    "Eltwise": 25, "BatchNorm": 39, "Scale": 40, "PReLU": 44,
}  # fmt: skip
MAX, AVERAGE = 0, 1


@dataclass
class Layer:
    """`parameters` by Caffe's names, such as {"pooling_param": {"pool": MAX}}."""

    type: str
    name: str
    bottom: str | tuple[str, ...]
    top: str | tuple[str, ...]
    blobs: list[np.ndarray] = field(default_factory=list)
    parameters: dict[str, dict[str, Any]] = field(default_factory=dict)


def convolution(name, bottom, top, kernel, bias=None, stride=1, pad=0, group=1):
    """The kernel is Keras' [height, width, channels of a group, filters]."""
    parameters = dict(num_output=kernel.shape[-1], bias_term=bias is not None, pad=[pad],
                      kernel_size=[len(kernel)], stride=[stride], group=group)  # fmt: skip
    blobs = with_bias(np.transpose(kernel, (3, 2, 0, 1)), bias)
    return Layer("Convolution", name, bottom, top, blobs, {"convolution_param": parameters})


def inner_product(name, bottom, top, kernel, bias=None):
    """The kernel is Keras' [inputs, outputs]."""
    parameters = dict(num_output=kernel.shape[-1], bias_term=bias is not None)
    return Layer("InnerProduct", name, bottom, top, with_bias(kernel.T, bias), {"inner_product_param": parameters})


def batch_norm(name, bottom, top, mean, variance, scale_factor=1.0, eps=1e-5):
    """The mean and variance are Caffe's sums: the statistics times the factor."""
    blobs = [mean, variance, np.array([scale_factor])]
    return Layer("BatchNorm", name, bottom, top, blobs, {"batch_norm_param": dict(eps=eps)})


def scale(name, bottom, top, gamma, beta=None):
    parameters = {"scale_param": dict(bias_term=beta is not None)}
    return Layer("Scale", name, bottom, top, with_bias(gamma, beta), parameters)


def max_pool(name, bottom, top, pad=0, kernel_size=3, stride=2):
    return pool(name, bottom, top, pool=MAX, pad=[pad], kernel_size=kernel_size, stride=stride)


def pool(name, bottom, top, **parameters):
    return Layer("Pooling", name, bottom, top, parameters={"pooling_param": parameters})


def relu(name, bottom, top):
    return Layer("ReLU", name, bottom, top)


def eltwise(name, bottoms, top):
    return Layer("Eltwise", name, bottoms, top)


def with_bias(weight, bias):
    return [weight] if bias is None else [weight, bias]


def write(path, layers, generation="layer", *, double=False):
    """Writes the layers; V1 has no parameters of norms, so that every `eps` of a "layers" file is the default one."""
    Path(path).write_bytes(net(layers, generation, double=double).SerializeToString())


def net(layers, generation="layer", *, double=False):
    """The message that `write` writes, to spoil first."""
    message = messages()["NetParameter"](name=b"net")
    for layer in layers:
        fill(getattr(message, generation).add(), layer, generation, double)
    return message


def fill(message, layer, generation, double):
    message.name = layer.name.encode()
    message.type = V1_TYPES[layer.type] if generation == "layers" else layer.type.encode()
    message.bottom.extend(encoded(layer.bottom))
    message.top.extend(encoded(layer.top))
    for values in layer.blobs:
        fill_blob(message.blobs.add(), np.asarray(values), generation, double)
    for name, parameters in layer.parameters.items():
        if hasattr(message, name):
            fill_parameters(getattr(message, name), parameters)


def encoded(names):
    return [name.encode() for name in ([names] if isinstance(names, str) else names)]


def fill_blob(blob, values, generation, double):
    if generation == "layers":
        shape = (1,) * (4 - values.ndim) + values.shape
        for side, size in zip(LEGACY_SHAPE, shape, strict=True):
            setattr(blob, side, size)
    else:
        blob.shape.dim.extend(values.shape)
    (blob.double_data if double else blob.data).extend(values.ravel().tolist())


def fill_parameters(message, parameters):
    message.SetInParent()
    for name, value in parameters.items():
        if isinstance(value, list):
            getattr(message, name).extend(value)
        else:
            setattr(message, name, value)
