"""A block is a sum of paths: which paths (SHORTCUTS, BRANCHES) and what stands around the sum (ORDERS)."""

from collections.abc import Callable
from typing import Any, NamedTuple

from keras import KerasTensor, layers

from keras_resnet.networks.config import Block, ResNetConfig
from keras_resnet.networks.layers import (
    average_pool,
    conv,
    drop_path,
    dropout,
    identity,
    max_pool,
    max_pool_signed,
    norm,
    norm_relu,
    pad_channels,
    relu,
    squeeze_excite,
)
from keras_resnet.networks.weighing import Paths, Weigh, drop_shortcut, gated, scaled, squared

Path = Callable[[KerasTensor, KerasTensor, Block, ResNetConfig], Paths]  # what enters a block, and what branches read


class Order(NamedTuple):
    before: Callable[..., KerasTensor]  # applied to what the paths read
    after: Callable[..., KerasTensor]  # to what a convolved path adds to the sum
    out: Callable[..., KerasTensor]  # to the sum
    head: Callable[..., KerasTensor]  # to what the classifier pools


class Shortcut(NamedTuple):
    changed: Path  # where the block changes the shape
    unchanged: Path
    weigh: Weigh | None = None  # the paths before the sum


ORDERS = {  # He et al. 2016, figure 4
    "post": Order(identity, norm, relu, identity),  # (a) original
    "norm_after_sum": Order(identity, identity, norm_relu, identity),  # (b)
    "relu_before_sum": Order(identity, norm_relu, identity, identity),  # (c)
    "relu_only": Order(relu, norm, identity, relu),  # (d)
    "pre": Order(norm_relu, identity, identity, norm_relu),  # (e) full pre-activation
    "pyramid": Order(norm, norm, identity, norm_relu),  # Han et al. 2017, figure 6d
}


def basic(block: Block, config: ResNetConfig) -> list[dict[str, Any]]:
    """Two 3x3 convolutions: He et al. 2015, figure 5, left."""
    return [
        dict(filters=block.filters, kernel_size=3, stride=block.stride, dilation=block.dilation),
        dict(filters=block.filters, kernel_size=3, dilation=block.dilation_after),
    ]


def bottleneck(block: Block, config: ResNetConfig) -> list[dict[str, Any]]:
    """1x1, 3x3 in groups, 1x1: He et al. 2015, figure 5, right; Xie et al. 2017, figure 3c."""
    width = config.width(block.filters)
    first, second = {
        "1x1": (dict(stride=block.stride), dict(dilation=block.dilation_after)),
        "3x3": ({}, dict(stride=block.stride, dilation=block.dilation)),
    }[config.stride_in]
    return [
        dict(filters=width, kernel_size=1, **first),
        dict(filters=width, kernel_size=3, groups=config.groups, **second),
        dict(filters=block.filters, kernel_size=1),
    ]


def single(block: Block, config: ResNetConfig) -> list[dict[str, Any]]:
    """One 3x3: He et al. 2015, section 3.2, which sees no advantage in it."""
    return [dict(filters=block.filters, kernel_size=3, stride=block.stride, dilation=block.dilation)]


BRANCHES = {"basic": basic, "bottleneck": bottleneck, "single": single}


def branch(x: KerasTensor, block: Block, config: ResNetConfig, letter: str) -> KerasTensor:
    """F(x): convolutions with norm-relu(-dropout) between them, then what the order puts before the sum."""
    order, name = ORDERS[config.order], f"{block.name}_{letter}"
    convolutions = BRANCHES[config.branch](block, config)
    for index, settings in enumerate(convolutions, start=1):
        last = index == len(convolutions)
        if last and config.zero_init and order.after is identity:
            settings["kernel_initializer"] = "zeros"
        x = conv(x, name=f"{name}{index}", **settings)
        if not last:
            x = dropout(norm_relu(x, f"{name}{index}"), config.dropout, f"{name}{index}")
    x = order.after(x, f"{name}{len(convolutions)}", gamma="zeros" if config.zero_init else "ones")
    return drop_path(squeeze_excite(x, config.se_ratio, name), block.drop_path, name, config.drop_path_per)


def none(x: KerasTensor, read: KerasTensor, block: Block, config: ResNetConfig) -> Paths:
    return []


def same(x: KerasTensor, read: KerasTensor, block: Block, config: ResNetConfig) -> Paths:
    return [x]


def subsample(x: KerasTensor, block: Block) -> KerasTensor:
    """Every stride-th pixel."""
    return layers.AveragePooling2D(1, block.stride, name=f"{block.name}_skip_pool")(x) if block.stride > 1 else x


def pool(x: KerasTensor, block: Block) -> KerasTensor:
    return average_pool(x, block.stride, f"{block.name}_skip") if block.step > 1 else x


def padded(reduce: Callable[[KerasTensor, Block], KerasTensor], even: bool = False) -> Path:
    """Zero channels for the missing ones: after what is there, or split evenly before and after it."""

    def path(x: KerasTensor, read: KerasTensor, block: Block, config: ResNetConfig) -> Paths:
        missing = block.filters - x.shape[-1]
        before = missing // 2 if even else 0
        return [pad_channels(reduce(x, block), before, missing - before, f"{block.name}_skip")]

    return path


def project(x: KerasTensor, read: KerasTensor, block: Block, config: ResNetConfig) -> Paths:
    """A 1x1 convolution of what the branch reads."""
    x = conv(read, block.filters, 1, f"{block.name}_skip", stride=block.stride)
    return [ORDERS[config.order].after(x, f"{block.name}_skip")]


def pool_project(x: KerasTensor, read: KerasTensor, block: Block, config: ResNetConfig) -> Paths:
    """Average pool, then a 1x1 convolution: He et al. 2019 (bag of tricks), figure 2c."""
    x = conv(pool(read, block), block.filters, 1, f"{block.name}_skip")
    return [ORDERS[config.order].after(x, f"{block.name}_skip")]


pad, append, pool_pad = padded(subsample, even=True), padded(subsample), padded(pool)

SHORTCUTS = {
    "none": Shortcut(none, none),  # plain
    "A": Shortcut(pad, same),  # He et al. 2015, section 3.3; zero channels split as akamaster's
    "A_append": Shortcut(append, same),
    "B": Shortcut(project, same),
    "C": Shortcut(project, project),
    "D": Shortcut(pool_project, same),
    "pyramid": Shortcut(pool_pad, same),  # Han et al. 2017, section 3.2
    "constant_scaling": Shortcut(pad, same, scaled(0.5, 0.5)),  # He et al. 2016, table 1, from here on
    "shortcut_scaling": Shortcut(pad, same, scaled(0.5, 1)),
    "exclusive_gating": Shortcut(pad, same, gated(exclusive=True)),
    "shortcut_only_gating": Shortcut(pad, same, gated(exclusive=False)),
    "conv": Shortcut(project, project),  # option C, by the paper's own words
    "dropout": Shortcut(pad, same, drop_shortcut),
    "double": Shortcut(pad, same, scaled(2, 1)),  # He et al. 2016, equations 6 to 8: lambda > 1 explodes
    "square": Shortcut(pad, same, squared),
}


def residual_block(x: KerasTensor, block: Block, config: ResNetConfig) -> KerasTensor:
    """y = out(shortcut(x) + F_a(before(x)) + F_b(before(x)) + ...), with an F for each of the config's branches."""
    order, shortcut = ORDERS[config.order], SHORTCUTS[config.shortcut]
    reads = [order.before(x, f"{block.name}_{letter}0") for letter in config.letters]
    changes = block.step > 1 or x.shape[-1] != block.filters
    path = shortcut.changed if changes else shortcut.unchanged
    paths = path(x, reads[0], block, config)  # the shortcut first: Keras walks graphs along first inputs
    paths += [branch(read, block, config, letter) for letter, read in zip(config.letters, reads, strict=True)]
    if shortcut.weigh:
        paths = shortcut.weigh(reads[0], paths, block, config)
    x = layers.Add(name=f"{block.name}_sum")(paths) if len(paths) > 1 else paths[0]
    return order.out(x, f"{block.name}_out")


def conv_norm_relu(x: KerasTensor, filters: int, kernel_size: int, name: str, stride: int = 1) -> KerasTensor:
    return norm_relu(conv(x, filters, kernel_size, name, stride=stride), name)


def cifar(x: KerasTensor, config: ResNetConfig) -> KerasTensor:
    """3x3, then what the order puts after a branch and after a sum."""
    order = ORDERS[config.order]
    return order.out(order.after(conv(x, config.stem_filters, 3, "stem"), "stem"), "stem")


def imagenet(x: KerasTensor, config: ResNetConfig) -> KerasTensor:
    return max_pool(conv_norm_relu(x, config.stem_filters, 7, "stem", stride=2), "stem")


def imagenet_bare(x: KerasTensor, config: ResNetConfig) -> KerasTensor:
    """timm's resnetv2: nothing between the convolution and the pool."""
    return max_pool_signed(conv(x, config.stem_filters, 7, "stem", stride=2), "stem")


def imagenet_caffe(x: KerasTensor, config: ResNetConfig) -> KerasTensor:
    """The first published weights': Caffe rounds sizes up, so that the pool's border is behind the last pixel only."""
    return max_pool(conv_norm_relu(x, config.stem_filters, 7, "stem", stride=2), "stem", before=0)


def deep_convolutions(
    x: KerasTensor, config: ResNetConfig, last: Callable[..., KerasTensor] = conv_norm_relu
) -> KerasTensor:
    """Three 3x3 for the 7x7: He et al. 2019 (bag of tricks), figure 2b."""
    x = conv_norm_relu(x, max(1, config.stem_filters // 2), 3, "stem1", stride=2)
    x = conv_norm_relu(x, max(1, config.stem_filters // 2), 3, "stem2")
    return last(x, config.stem_filters, 3, "stem3")


def deep(x: KerasTensor, config: ResNetConfig) -> KerasTensor:
    return max_pool(deep_convolutions(x, config), "stem")


def deep_bare(x: KerasTensor, config: ResNetConfig) -> KerasTensor:
    """timm's resnetv2 "d": nothing between the last convolution and the pool."""
    return max_pool_signed(deep_convolutions(x, config, conv), "stem")


def deep_strided(x: KerasTensor, config: ResNetConfig) -> KerasTensor:
    """A strided convolution for the pool: Bello et al. 2021 (ResNet-RS), section 6."""
    return conv_norm_relu(deep_convolutions(x, config), config.stem_filters, 3, "stem4", stride=2)


STEMS = {
    stem.__name__: stem for stem in (cifar, imagenet, imagenet_bare, imagenet_caffe, deep, deep_bare, deep_strided)
}
