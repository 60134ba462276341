"""The layers of a `.caffemodel`, of either generation of Caffe's layers, without Caffe."""

from base64 import b64decode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from keras_resnet.weights.foreign.contents import MOST_DIMENSIONS, UnreadableError, require
from keras_resnet.weights.layers import Affine, Norm, constant


class Field(NamedTuple):
    number: int
    type: str  # protobuf's, or the name of a message
    label: str = "optional"
    default: str = ""


# What is read, and what tests write, of Caffe's messages; protobuf skips the fields that a description leaves out.
MESSAGES = {
    "NetParameter": {
        "name": Field(1, "bytes"),  # as all text here: strings would have to be UTF-8
        "layers": Field(2, "V1LayerParameter", "repeated"),
        "layer": Field(100, "LayerParameter", "repeated"),
    },
    "LayerParameter": {
        "name": Field(1, "bytes"),
        "type": Field(2, "bytes"),
        "bottom": Field(3, "bytes", "repeated"),
        "top": Field(4, "bytes", "repeated"),
        "blobs": Field(7, "BlobProto", "repeated"),
        "convolution_param": Field(106, "ConvolutionParameter"),
        "inner_product_param": Field(117, "InnerProductParameter"),
        "pooling_param": Field(121, "PoolingParameter"),
        "batch_norm_param": Field(139, "BatchNormParameter"),
        "scale_param": Field(142, "ScaleParameter"),
    },
    "V1LayerParameter": {
        "bottom": Field(2, "bytes", "repeated"),
        "top": Field(3, "bytes", "repeated"),
        "name": Field(4, "bytes"),
        "type": Field(5, "int32"),  # an enum, to which forks add
        "blobs": Field(6, "BlobProto", "repeated"),
        "convolution_param": Field(10, "ConvolutionParameter"),
        "inner_product_param": Field(17, "InnerProductParameter"),
        "pooling_param": Field(19, "PoolingParameter"),
    },
    "BlobProto": {
        "num": Field(1, "int32"),
        "channels": Field(2, "int32"),
        "height": Field(3, "int32"),
        "width": Field(4, "int32"),
        "data": Field(5, "float", "packed"),
        "shape": Field(7, "BlobShape"),
        "double_data": Field(8, "double", "packed"),
    },
    "BlobShape": {"dim": Field(1, "int64", "packed")},
    "ConvolutionParameter": {
        "num_output": Field(1, "uint32"),
        "bias_term": Field(2, "bool", default="true"),
        "pad": Field(3, "uint32", "repeated"),
        "kernel_size": Field(4, "uint32", "repeated"),
        "group": Field(5, "uint32", default="1"),
        "stride": Field(6, "uint32", "repeated"),
        "stride_h": Field(13, "uint32", default="1"),
        "stride_w": Field(14, "uint32", default="1"),
    },
    "InnerProductParameter": {
        "num_output": Field(1, "uint32"),
        "bias_term": Field(2, "bool", default="true"),
        "transpose": Field(6, "bool"),
    },
    "PoolingParameter": {
        "pool": Field(1, "int32"),  # an enum
        "kernel_size": Field(2, "uint32"),
        "stride": Field(3, "uint32", default="1"),
        "pad": Field(4, "uint32", "repeated"),  # at most one, as `pad` of a convolution in all else
        "pad_h": Field(9, "uint32"),
        "pad_w": Field(10, "uint32"),
    },
    "BatchNormParameter": {"eps": Field(3, "float", default="1e-05")},
    "ScaleParameter": {"bias_term": Field(4, "bool", default="false")},
}
LEGACY_SHAPE = ("num", "channels", "height", "width")
MAX_POOLING = 0
V1_KINDS = {4: "Convolution", 14: "InnerProduct", 17: "Pooling"}


class Layer(NamedTuple):
    label: str  # its name and type, for errors
    name: str
    kind: str  # Caffe's newer name of its type
    reads: list[bytes]
    writes: list[bytes]
    weights: list[np.ndarray]
    arrays: list[str]  # their names in the file
    message: Any


class Caffemodel:
    """All of a `.caffemodel` but its weights' values, as `foreign.caffe_wire` returns it."""

    def __init__(self, net: str):
        from google.protobuf.message import DecodeError

        try:
            parsed = messages()["NetParameter"].FromString(b64decode(net))
        except DecodeError as error:
            raise UnreadableError(f"protobuf: {error}") from error
        # If a file has both generations, one is ignored, as in Caffe
        self.generation, self.messages = (100, parsed.layer) if parsed.layer else (2, parsed.layers)

    def layers(self, arrays: Mapping[str, np.ndarray]) -> list[Layer]:
        return [
            read_layer(message, f"{self.generation}/{place}", arrays) for place, message in enumerate(self.messages)
        ]

    def grouped(self, arrays: Mapping[str, np.ndarray]) -> tuple[dict[str, Affine | Norm], dict[str, list[str]]]:
        """Every layer with weights by its name, and the names of the arrays that it is made of."""
        with_weights, names = collected(self.layers(arrays))
        require(with_weights, "no layer has weights")
        return with_weights, names

    def first_pool_pad(self) -> int | None:
        """The padding of the first max pool, None without one."""
        pools = ((message.name, message.pooling_param) for message in self.messages if is_pool(message))
        return next((both_sides(text(name), pool, "pad") for name, pool in pools if pool.pool == MAX_POOLING), None)


@cache
def messages() -> dict[str, Any]:
    """The class of each of MESSAGES."""
    from google.protobuf.descriptor_pool import DescriptorPool
    from google.protobuf.message_factory import GetMessageClass

    pool = DescriptorPool()  # a private one: another reader's `caffe.proto` may be in the default pool
    pool.AddSerializedFile(description().SerializeToString())
    return {name: GetMessageClass(pool.FindMessageTypeByName(f"caffe.{name}")) for name in MESSAGES}


def description() -> Any:
    """MESSAGES as protobuf's own description of a `.proto` file."""
    from google.protobuf.descriptor_pb2 import FileDescriptorProto

    file = FileDescriptorProto(name="keras_resnet/caffe.proto", package="caffe", syntax="proto2")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, facts in fields.items():
            describe(message.field.add(name=field), facts)
    return file


def describe(field: Any, facts: Field) -> None:
    """Fills one field's description."""
    field.number = facts.number
    field.label = field.LABEL_OPTIONAL if facts.label == "optional" else field.LABEL_REPEATED
    if facts.type in MESSAGES:
        field.type_name = f".caffe.{facts.type}"
    field.type = field.TYPE_MESSAGE if facts.type in MESSAGES else getattr(field, f"TYPE_{facts.type.upper()}")
    if facts.label == "packed":
        field.options.packed = True
    if facts.default:
        field.default_value = facts.default


def read_layer(message: Any, path: str, arrays: Mapping[str, np.ndarray]) -> Layer:
    """A layer of either generation."""
    label = f"layer {text(message.name)!r} of type {text(message.type)}"
    names = [f"{path}/{index}" for index in range(len(message.blobs))]
    weights = [shaped(arrays[name], blob, label) for name, blob in zip(names, message.blobs, strict=True)]
    kind = kind_of(message.type, weights)
    return Layer(label, text(message.name), kind, list(message.bottom), list(message.top), weights, names, message)


def text(value: bytes | int) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def shaped(values: np.ndarray, blob: Any, label: str) -> np.ndarray:
    """A blob's values in its shape."""
    shape = shape_of(blob)
    holds = len(shape) <= MOST_DIMENSIONS and all(size > 0 for size in shape) and prod(shape) == values.size
    require(holds, f"{label}: {values.size} values for the shape {shape}")
    return values.reshape(shape)


def shape_of(blob: Any) -> tuple[int, ...]:
    """If a blob has both descriptions, Caffe reads the older one."""
    if any(map(blob.HasField, LEGACY_SHAPE)):
        return tuple(getattr(blob, side) for side in LEGACY_SHAPE)
    return tuple(blob.shape.dim)


def kind_of(given: bytes | int, weights: Sequence[np.ndarray]) -> str:
    """The older generation's norms have numbers that differ from fork to fork, thus are told by their weights."""
    if isinstance(given, bytes):
        return text(given)
    return V1_KINDS.get(given) or guessed_kind(weights) or text(given)


def guessed_kind(weights: Sequence[np.ndarray]) -> str | None:
    if len(weights) == 3 and weights[-1].size == 1:
        return "BatchNorm"
    return "Scale" if len(weights) in (1, 2) and all(map(is_vector, weights)) else None


def is_vector(weight: np.ndarray) -> bool:
    return weight.size == max(weight.shape, default=1)


def collected(layers: Iterable[Layer]) -> tuple[dict[str, Affine | Norm], dict[str, list[str]]]:
    """Every layer's weights by its name, a Scale's in the norm that it follows; and the names of its arrays."""
    by_name: dict[str, Any] = {}
    arrays: dict[str, list[str]] = {}
    unscaled: dict[bytes, str] = {}  # the blobs that a BatchNorm wrote last, until a Scale reads them
    for layer in layers:
        if layer.weights:
            name = collect(layer, by_name, unscaled)
            arrays.setdefault(name, []).extend(layer.arrays)
        for blob in layer.writes:
            unscaled.pop(blob, None)
        if layer.weights and layer.kind == "BatchNorm":
            unscaled |= dict.fromkeys(layer.writes, layer.name)
    return by_name, arrays


def collect(layer: Layer, by_name: dict[str, Any], unscaled: dict[bytes, str]) -> str:
    """The name under which its weights are then."""
    if layer.kind == "Scale":
        norm = norm_of(layer, unscaled)
        by_name[norm] = scaled(by_name[norm], layer)
        return norm
    require(layer.kind in READERS, f"{layer.label}: weights of an unknown type")
    require(layer.name not in by_name, f"{layer.label}: a second layer of that name")
    by_name[layer.name] = READERS[layer.kind](layer)
    return layer.name


def norm_of(scale: Layer, unscaled: dict[bytes, str]) -> str:
    """Takes the BatchNorm that the Scale follows; a Scale of two blobs has no gamma of its own."""
    follows = len(scale.reads) == 1 and scale.reads[0] in unscaled
    require(follows, f"{scale.label}: a Scale of what no BatchNorm wrote")
    return unscaled.pop(scale.reads[0])


def convolution(layer: Layer) -> Affine:
    kernel, *bias = layer.weights
    require(kernel.ndim == 4, f"{layer.label}: a kernel of the shape {kernel.shape}")
    stride = both_sides(layer.label, layer.message.convolution_param, "stride")
    return Affine(kernel.transpose(2, 3, 1, 0), bias_of(layer, bias, len(kernel)), stride)


def inner_product(layer: Layer) -> Affine:
    kernel, *bias = layer.weights
    require(kernel.ndim >= 2 and prod(kernel.shape[:-2]) == 1, f"{layer.label}: a kernel of the shape {kernel.shape}")
    kernel = kernel.reshape(kernel.shape[-2:])
    kernel = kernel if layer.message.inner_product_param.transpose else kernel.T
    return Affine(kernel[None, None], bias_of(layer, bias, len(kernel.T)))


def bias_of(layer: Layer, rest: Sequence[np.ndarray], size: int) -> np.ndarray | None:
    """The bias among the weights after the kernel."""
    require(len(rest) <= 1, f"{layer.label}: {len(layer.weights)} blobs")
    return vector(layer, rest[0], size) if rest else None


def vector(layer: Layer, weight: np.ndarray, size: int) -> np.ndarray:
    fits = is_vector(weight) and weight.size == size
    require(fits, f"{layer.label}: a blob of the shape {weight.shape} in place of {size} values")
    return weight.reshape(-1)


def batch_norm(layer: Layer) -> Norm:
    """The norm of a BatchNorm, whose weights are sums and their divisor."""
    counts = [weight.size for weight in layer.weights]
    require(len(counts) == 3 and counts[2] == 1, f"{layer.label}: blobs of {counts} values")
    mean, variance = (divided(vector(layer, sums, counts[0]), layer.weights[2].item()) for sums in layer.weights[:2])
    return Norm(constant(1, mean), constant(0, mean), mean, variance, epsilon(layer.message))


@np.errstate(all="ignore")
def divided(sums: np.ndarray, factor: float) -> np.ndarray:
    """Divides the sums; Caffe's statistics are 0 before the first batch."""
    return sums / factor if factor else constant(0, sums)


def epsilon(message: Any) -> float:
    """The decimal number that was meant, such as 1e-5, and not its float32."""
    default = messages()["BatchNormParameter"]()  # the older generation has no parameters of norms
    return float(str(np.float32(getattr(message, "batch_norm_param", default).eps)))


def scaled(norm: Norm, layer: Layer) -> Norm:
    """The norm with the gamma and beta of its Scale."""
    gamma, *beta = (vector(layer, weight, norm.mean.size) for weight in layer.weights)
    require(len(beta) <= 1, f"{layer.label}: {len(layer.weights)} blobs")
    return replace(norm, gamma=gamma, beta=beta[0] if beta else constant(0, gamma))


def is_pool(message: Any) -> bool:
    return message.type == b"Pooling" or V1_KINDS.get(message.type) == "Pooling"


def both_sides(label: str, parameters: Any, name: str) -> int:
    """A stride or padding, given once, twice, or as height's and width's, that has to be the same in both."""
    sides = set(getattr(parameters, name)) or {getattr(parameters, f"{name}_{side}") for side in "hw"}
    require(len(sides) == 1, f"{label}: a different {name} in height and width, {sorted(sides)}")
    return sides.pop()


READERS = {"Convolution": convolution, "InnerProduct": inner_product, "BatchNorm": batch_norm}
