"""How other projects name the layers of our networks, what else their weights imply, and how they are told apart."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from keras_resnet.checks import expect, invalid
from keras_resnet.weights.layers import Affine, Layers, Norm

if TYPE_CHECKING:
    from keras_resnet.weights.pretrained import PretrainedWeights

HEAD = "predictions"
Fields = dict[str, Any]  # of a residual network's row


class Number(int):
    """In a template: `{s}` as it is, `{s:-1}` and `{s:+1}` with that added, `{s:a}` as a letter."""

    def __format__(self, spec: str) -> str:
        return chr(ord("a") - 1 + self) if spec == "a" else str(self + int(spec or 0))


@dataclass(frozen=True)
class Scheme:
    """One project's names. Keys and values of `names` are templates of s(tage), b(lock), i(ndex in the branch), from 1.

    Where a name has several templates, the source has one of them.
    """

    title: str
    networks: tuple[str, ...]  # shell patterns of the published networks that it has names for
    names: Mapping[str, tuple[str, ...]]
    fits: Callable[[Layers], bool]  # whether a source's names are these
    implies: Callable[["PretrainedWeights"], Fields] = lambda pretrained: {}
    instead: Mapping[str, str] = field(default_factory=dict)  # layers of ours that it has never: what to expect then
    epsilon: float | None = None  # of the norms, where the format does not tell; None is that of the model
    bgr: bool = False  # whether the network reads blue, green, red
    preprocessing: str | None = None  # what its weights for ImageNet were trained with
    only_data: tuple[str, ...] = ()  # the class names of its only data set, trained with that preprocessing too

    def candidates(self, name: str) -> list[str]:
        """The names that the source may have for one of our layers."""
        if not self.names:
            return [name]
        for ours, theirs in self.names.items():
            if match := re.fullmatch(re.sub(r"\{(\w)\}", r"(?P<\1>\\d+)", ours), name):
                numbers = {key: Number(value) for key, value in match.groupdict().items()}
                return [template.format(**numbers) for template in theirs]
        return []

    def of(self, name: str, layers: Layers) -> str:
        """The source's name for one of our layers: the first candidate that exists with its kind, or else the first."""
        candidates = self.candidates(name)
        there = [candidate for candidate in candidates if candidate in layers]
        of_kind = [candidate for candidate in there if isinstance(layers[candidate], Norm) == name.endswith("_norm")]
        return next(iter(of_kind or there or candidates), "")


def named(layers: Layers, pattern: str) -> bool:
    return any(re.fullmatch(pattern, name) for name in layers)


def kernel_size(layers: Layers, name: str) -> int | None:
    layer = layers.get(name)
    return layer.kernel.shape[0] if isinstance(layer, Affine) else None


def implied_by_ours(pretrained: "PretrainedWeights") -> Fields:
    """The fields of the row in the card. A file of weights alone has no card."""
    row = pretrained.card.config if pretrained.card else {}
    return {field: row[field] for field in ("stem", "shortcut", "stride_in") if field in row}


# torch


def projections(layers: Layers, changed: str, unchanged: str, pooled: str = "-") -> Fields:
    """The shortcut that a source's names show; options without parameters do not show."""
    if named(layers, pooled):
        return {"shortcut": "D"}
    if named(layers, unchanged):
        return {"shortcut": "C"}
    return {"shortcut": "B"} if named(layers, changed) else {}


def implied_by_torchvision(pretrained: "PretrainedWeights") -> Fields:
    layers = pretrained.layers
    if "conv1.0" in layers:
        stem = "deep_strided" if "maxpool.0" in layers else "deep"
    else:
        stem = "cifar" if kernel_size(layers, "conv1") == 3 else "imagenet"
    block = r"layer\d\.{}\.downsample\.{}"
    return {"stem": stem, "order": "post", "stride_in": "3x3"} | projections(
        layers, block.format(r"\d+", 0), block.format(r"[1-9]\d*", r"\d"), block.format(0, 2)
    )


def implied_by_akamaster(pretrained: "PretrainedWeights") -> Fields:
    block = r"layer\d\.{}\.shortcut\.0"
    shown = projections(pretrained.layers, block.format(r"\d+"), block.format(r"[1-9]\d*"))
    return {"stem": "cifar", "order": "post", "stride_in": "3x3", "shortcut": "A"} | shown


def implied_by_timm_v2(pretrained: "PretrainedWeights") -> Fields:
    layers = pretrained.layers
    if "stem.conv1" in layers:
        return {"stem": "deep_bare", "order": "pre", "stride_in": "3x3", "shortcut": "D"}
    stem = "cifar" if kernel_size(layers, "stem.conv") == 3 else "imagenet_bare"
    return {"stem": stem, "order": "pre", "stride_in": "3x3", "shortcut": "B"}


def implied_by_wide(pretrained: "PretrainedWeights") -> Fields:
    return {"stem": "cifar", "order": "pre", "shortcut": "B"}


TORCH_BLOCK = {
    "stage{s}_block{b}_a{i}_conv": ("layer{s}.{b:-1}.conv{i}",),
    "stage{s}_block{b}_a{i}_norm": ("layer{s}.{b:-1}.bn{i}",),
}
CIFAR_TORCH = {
    "stem_conv": ("conv1",),
    "stem_norm": ("bn1",),
    **TORCH_BLOCK,
    "stage{s}_block{b}_skip_conv": ("layer{s}.{b:-1}.shortcut.0",),
    "stage{s}_block{b}_skip_norm": ("layer{s}.{b:-1}.shortcut.1",),
    "predictions": ("linear",),
}


def is_post(layers: Layers) -> bool:
    """Blocks that begin with a convolution: `bn1` has the stem's channels. In others it or `bn` is the head's norm."""
    stem, norm = layers.get("conv1", layers.get("conv1.6")), layers.get("bn1")
    of_head = isinstance(stem, Affine) and isinstance(norm, Norm) and norm.shape != stem.shape[-1:]
    return {"layer1.0.conv1", "layer1.0.bn1"} <= layers.keys() and not of_head and not {"bn", "norm"} & layers.keys()


def dense_layer(name: str) -> tuple[str, ...]:
    """torchvision's older files have a dot before the number."""
    start, number = name.split("{")
    return tuple(f"features.denseblock{{s}}.denselayer{{b}}.{start}{dot}{{{number}" for dot in ("", "."))


# Caffe and keras.applications


def caffe_layer(kind: str, end: str) -> tuple[str, ...]:
    """`res4b_branch2a` of 50 layers, `res4b1_branch2a` of 101 and 152."""
    return f"{kind}{{s:+1}}{{b:a}}_branch{end}", f"{kind}{{s:+1}}b{{b:-1}}_branch{end}"


def caffe_stem(pretrained: "PretrainedWeights") -> str:
    """Caffe rounds a pool's size up: only without padding is that a border of ours, behind the last pixel."""
    pad = pretrained.pool_pad
    expected = "a first max pool without padding, as in the published Caffe networks"
    expect(pad in (None, 0), "weights", expected, f"{pretrained.origin} with a padding of {pad}")
    return "imagenet_caffe"


def implied_by_caffe(pretrained: "PretrainedWeights") -> Fields:
    strided = pretrained.layers.get("res3a_branch2a")
    in_3x3 = isinstance(strided, Affine) and strided.shape[0] == 1 and strided.stride == 1
    return {"stem": caffe_stem(pretrained), "order": "post", "stride_in": "3x3" if in_3x3 else "1x1", "shortcut": "B"}


def implied_by_applications(pretrained: "PretrainedWeights") -> Fields:
    return {"stem": "imagenet", "order": "post", "stride_in": "1x1", "shortcut": "B"}


V2 = (
    "another source, such as hf://timm/resnetv2_50.a1h_in1k: the V2 networks of keras.applications are others than the "
    "published ones (they stride in a stage's last block, convolve with biases, and pad signed values with zeros)"
)


def refused(pretrained: "PretrainedWeights") -> Fields:
    raise invalid("weights", V2, pretrained.origin)


CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

OURS = Scheme(
    title="keras_resnet",
    networks=("*",),
    names={},
    fits=lambda layers: named(layers, "stem_conv|stem1_conv|stage1_column1_1_conv"),
    implies=implied_by_ours,
)

SCHEMES: tuple[Scheme, ...] = (
    OURS,
    Scheme(
        title="torchvision and timm: ResNet, ResNeXt, wide, SE, ResNet-D, ResNet-RS",
        networks=(
            *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnet200", "resnext50*", "resnext1*"),
            *("wide_resnet50_2", "wide_resnet101_2", "seresnet50", "seresnet101", "seresnet152", "seresnext*"),
            *("resnet*d", "resnetrs*", "resnet20", "resnet32", "resnet44", "resnet56", "resnet110", "resnet164"),
        ),
        names={
            "stem1_conv": ("conv1.0",),
            "stem1_norm": ("conv1.1",),
            "stem2_conv": ("conv1.3",),
            "stem2_norm": ("conv1.4",),
            "stem3_conv": ("conv1.6",),
            "stem3_norm": ("bn1",),
            "stem4_conv": ("maxpool.0",),
            "stem4_norm": ("maxpool.1",),
            "stem_conv": ("conv1",),
            "stem_norm": ("bn1",),
            **TORCH_BLOCK,
            "stage{s}_block{b}_a_se_squeeze": ("layer{s}.{b:-1}.se.fc1",),
            "stage{s}_block{b}_a_se_excite": ("layer{s}.{b:-1}.se.fc2",),
            "stage{s}_block{b}_skip_conv": ("layer{s}.{b:-1}.downsample.0", "layer{s}.{b:-1}.downsample.1"),
            "stage{s}_block{b}_skip_norm": ("layer{s}.{b:-1}.downsample.1", "layer{s}.{b:-1}.downsample.2"),
            "predictions": ("fc",),
        },
        fits=lambda layers: is_post(layers) and not named(layers, r"linear|.*\.shortcut\.0"),
        implies=implied_by_torchvision,
        epsilon=1e-5,
        preprocessing="imagenet",
    ),
    Scheme(
        title="timm: resnetv2 (pre-activation)",
        networks=("resnet*v2",),
        names={
            "stem_conv": ("stem.conv",),
            "stem{i}_conv": ("stem.conv{i}",),
            "stem{i}_norm": ("stem.norm{i}",),
            "stage{s}_block{b}_a{i}_conv": ("stages.{s:-1}.blocks.{b:-1}.conv{i}",),
            "stage{s}_block{b}_a{i}_norm": ("stages.{s:-1}.blocks.{b:-1}.norm{i:+1}",),
            "stage{s}_block{b}_skip_conv": ("stages.{s:-1}.blocks.{b:-1}.downsample.conv",),
            "head_norm": ("norm",),
            "predictions": ("head.fc",),
        },
        fits=lambda layers: "stages.0.blocks.0.norm1" in layers,
        implies=implied_by_timm_v2,
        epsilon=1e-5,
    ),
    Scheme(
        title="torchvision and timm: DenseNet",
        networks=("densenet121", "densenet161", "densenet169", "densenet201", "densenet264"),
        names={
            "stem_conv": ("features.conv0",),
            "stem_norm": ("features.norm0",),
            "stage{s}_block{b}_a{i}_conv": dense_layer("conv{i}"),
            "stage{s}_block{b}_a{i}_norm": dense_layer("norm{i:+1}"),
            "stage{s}_in_conv": ("features.transition{s:-1}.conv",),
            "stage{s}_in_norm": ("features.transition{s:-1}.norm",),
            "head_norm": ("features.norm5", "features.norm_final"),
            "predictions": ("classifier",),
        },
        fits=lambda layers: named(layers, r"features\.denseblock1\.denselayer1\.conv\.?1"),
        epsilon=1e-5,
        preprocessing="imagenet",
    ),
    Scheme(
        title="akamaster/pytorch_resnet_cifar10",
        networks=("resnet20", "resnet32", "resnet44", "resnet56", "resnet110", "resnet1202"),
        names=CIFAR_TORCH,
        fits=lambda layers: is_post(layers) and "layer4.0.conv1" not in layers,
        implies=implied_by_akamaster,
        epsilon=1e-5,
        preprocessing="imagenet",
        only_data=CIFAR10,
    ),
    Scheme(
        title="kuangliu/pytorch-cifar: ResNet",
        networks=("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
        names=CIFAR_TORCH,
        fits=is_post,
        implies=implied_by_akamaster,
        epsilon=1e-5,
    ),
    Scheme(
        title="xternalz/WideResNet-pytorch and its kin: wide ResNet",
        networks=("wide_resnet16*", "wide_resnet2*", "wide_resnet4*"),
        names={
            "stem_conv": ("conv1",),
            "stage{s}_block{b}_a{i}_conv": ("block{s}.layer.{b:-1}.conv{i}",),
            "stage{s}_block{b}_a{i}_norm": ("block{s}.layer.{b:-1}.bn{i:+1}",),
            "stage{s}_block{b}_skip_conv": ("block{s}.layer.{b:-1}.convShortcut",),
            "head_norm": ("bn1",),
            "predictions": ("fc",),
        },
        fits=lambda layers: "block1.layer.0.conv1" in layers,
        implies=implied_by_wide,
        epsilon=1e-5,
    ),
    Scheme(
        title="Caffe: ResNet",
        networks=("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
        names={
            "stem_conv": ("conv1",),
            "stem_norm": ("bn_conv1",),
            "stage{s}_block{b}_a{i}_conv": caffe_layer("res", "2{i:a}"),
            "stage{s}_block{b}_a{i}_norm": caffe_layer("bn", "2{i:a}"),
            "stage{s}_block{b}_skip_conv": caffe_layer("res", "1"),
            "stage{s}_block{b}_skip_norm": caffe_layer("bn", "1"),
            "predictions": ("fc1000", "fc"),
        },
        fits=lambda layers: "res2a_branch2a" in layers,
        implies=implied_by_caffe,
        epsilon=1e-5,
        bgr=True,
        preprocessing="caffe",
    ),
    Scheme(
        title="keras.applications: ResNetV2",
        networks=(),
        names={},
        fits=lambda layers: "conv2_block1_preact_bn" in layers,
        implies=refused,
    ),
    Scheme(
        title="keras.applications: ResNet",
        networks=("resnet50", "resnet101", "resnet152"),
        names={
            "stem_conv": ("conv1_conv",),
            "stem_norm": ("conv1_bn",),
            "stage{s}_block{b}_a{i}_conv": ("conv{s:+1}_block{b}_{i}_conv",),
            "stage{s}_block{b}_a{i}_norm": ("conv{s:+1}_block{b}_{i}_bn",),
            "stage{s}_block{b}_skip_conv": ("conv{s:+1}_block{b}_0_conv",),
            "stage{s}_block{b}_skip_norm": ("conv{s:+1}_block{b}_0_bn",),
            "predictions": ("predictions",),
        },
        fits=lambda layers: "conv2_block1_3_bn" in layers,
        instead={"head_norm": V2},
        implies=implied_by_applications,
        epsilon=1.001e-5,
        bgr=True,
        preprocessing="caffe",
    ),
    Scheme(
        title="keras.applications: DenseNet",
        networks=("densenet121", "densenet169", "densenet201"),
        names={
            "stem_conv": ("conv1_conv",),
            "stem_norm": ("conv1_bn",),
            "stage{s}_block{b}_a{i}_conv": ("conv{s:+1}_block{b}_{i}_conv",),
            "stage{s}_block{b}_a{i}_norm": ("conv{s:+1}_block{b}_{i}_bn",),
            "stage{s}_in_conv": ("pool{s}_conv",),
            "stage{s}_in_norm": ("pool{s}_bn",),
            "head_norm": ("bn",),
            "predictions": ("predictions",),
        },
        fits=lambda layers: "conv2_block1_0_bn" in layers and "pool2_conv" in layers,
        epsilon=1.001e-5,
        preprocessing="imagenet",
    ),
)


UNNAMED = Scheme(
    title="by structure",
    networks=(),
    names={},
    fits=lambda layers: True,
    implies=lambda pretrained: {} if pretrained.pool_pad is None else {"stem": caffe_stem(pretrained)},
    epsilon=1e-5,
)


def recognized(layers: Layers) -> Scheme:
    """The first scheme whose names fit, or else UNNAMED."""
    return next((scheme for scheme in SCHEMES if scheme.fits(layers)), UNNAMED)
