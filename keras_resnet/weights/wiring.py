"""What a network computes apart from its weights, as far as its layers show it."""

import json
import re
from collections.abc import Mapping
from typing import Any

import keras

from keras_resnet.checks import expect
from keras_resnet.graph.tracing import walk
from keras_resnet.weights.pretrained import PretrainedWeights

# The layers without weights that decide it, whether or not a network trades strides for dilation.
WIRING = re.compile(
    r"(stem|stage|head).*_(relu|sum|scale|gated|rest|skip_pad|join\d+)|stage2_block1_(a\d_pad|skip_pool)|stem_pool(_pad)?"
)
SETTINGS = ("padding", "pool_size", "scale", "offset")


def refuse_other_wiring(model: keras.Model, pretrained: PretrainedWeights) -> None:
    """Refuses weights of ours whose network is wired differently: Keras' files keep the names of all layers."""
    if not pretrained.settings:
        return
    theirs, ours = wiring(pretrained.settings), wiring({layer.name: layer.get_config() for layer in walk(model)})
    unlike = sorted(theirs.keys() ^ ours.keys()) or [name for name in theirs if differ(theirs[name], ours[name])]
    expected = f"those of a network wired like the model, unlike in {', '.join(unlike[:5])}"
    expect(not unlike, "weights", expected, pretrained.origin)


def wiring(settings: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    deciding = ((name, layer) for name, layer in settings.items() if WIRING.fullmatch(name))
    return {name: {key: layer[key] for key in SETTINGS if key in layer} for name, layer in deciding}


def differ(theirs: dict[str, Any], ours: dict[str, Any]) -> bool:
    """Whether the settings differ; without settings in the file they count as equal."""
    return bool(theirs) and theirs != json.loads(json.dumps(ours))


def traits(model: keras.Model) -> dict[str, str]:
    """The fields of a residual network's row that other projects' weights imply."""
    layers = {layer.name: layer for layer in walk(model)}
    if any(re.fullmatch(r"stage1_(block1_concat|column1_1_conv)", name) for name in layers):  # a DenseNet, a FractalNet
        return {}
    tell = {"stem": stem_of, "order": order_of, "shortcut": shortcut_of, "stride_in": stride_of}
    return {field: value for field, of in tell.items() if (value := of(layers)) is not None}


def stem_of(layers: Mapping[str, Any]) -> str:
    deep, pool, border = "stem1_conv" in layers, layers.get("stem_pool"), layers.get("stem_pool_pad")
    if "stem4_conv" in layers:
        return "deep_strided"
    if not pool:
        return "cifar"
    if not border:
        return "deep_bare" if deep else "imagenet_bare"
    return "deep" if deep else "imagenet" if border.padding[0][0] else "imagenet_caffe"


def order_of(layers: Mapping[str, Any]) -> str:
    def has(end: str) -> bool:
        return any(re.fullmatch(rf"stage\d+_block\d+_{end}", name) for name in layers)

    if has("a0_norm"):
        return "pre" if has("a0_relu") else "pyramid"
    if has("a0_relu"):
        return "relu_only"
    if has("out_norm"):
        return "norm_after_sum"
    return "post" if has("out_relu") else "relu_before_sum"


def shortcut_of(layers: Mapping[str, Any]) -> str | None:
    """None if no block changes its shape."""
    skips = {name: layers[name] for name in layers if re.match(r"stage\d+_block\d+_skip_", name)}
    for end, shortcut in {"_scale": "constant_scaling", "_gated": "exclusive_gating", "_dropout": "dropout"}.items():
        if any(name.endswith(end) for name in skips):
            return shortcut
    pooled = any(getattr(layer, "pool_size", (1, 1)) != (1, 1) for layer in skips.values())
    if any(name.endswith("_conv") for name in skips):
        everywhere = any(not re.match(r"stage\d+_block1_", name) for name in skips)
        return "D" if pooled else "C" if everywhere else "B"
    pads = [layer.padding[1] for name, layer in skips.items() if name.endswith("_pad")]
    if pads:
        return "pyramid" if pooled else "A" if any(before for before, _ in pads) else "A_append"
    return None if any(name.endswith("_sum") for name in layers) else "none"


def stride_of(layers: Mapping[str, Any]) -> str | None:
    """None if the blocks are basic."""
    first = layers.get("stage2_block1_a1_conv")
    if first is None or first.kernel_size != (1, 1):
        return None
    return "3x3" if first.strides == (1, 1) else "1x1"
