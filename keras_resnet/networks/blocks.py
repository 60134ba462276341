"""A block is a sum of paths: which paths (SHORTCUTS, BRANCHES) and what stands around the sum (ORDERS)."""

from collections.abc import Callable
from dataclasses import dataclass

from keras import initializers, layers

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


@dataclass(frozen=True)
class Order:
    before: Callable  # applied to what the paths read
    after: Callable  # to what a convolved path adds to the sum
    out: Callable  # to the sum
    head: Callable  # to what the classifier pools


ORDERS = {  # He et al. 2016, figure 4
    "post": Order(identity, norm, relu, identity),  # (a) original
    "norm_after_sum": Order(identity, identity, norm_relu, identity),  # (b)
    "relu_before_sum": Order(identity, norm_relu, identity, identity),  # (c)
    "relu_only": Order(relu, norm, identity, relu),  # (d)
    "pre": Order(norm_relu, identity, identity, norm_relu),  # (e) full pre-activation
    "pyramid": Order(norm, norm, identity, norm_relu),  # Han et al. 2017, figure 6d
}


def basic(block, config):
    """Two 3x3 convolutions: He et al. 2015, figure 5, left."""
    return [
        dict(filters=block.filters, kernel_size=3, stride=block.stride, dilation=block.dilation),
        dict(filters=block.filters, kernel_size=3, dilation=block.dilation_after),
    ]


def bottleneck(block, config):
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


BRANCHES = {"basic": basic, "bottleneck": bottleneck}


def branch(x, block, config, letter):
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
    return drop_path(squeeze_excite(x, config.se_ratio, name), block.drop_path, name)


def none(x, read, block, config):
    return []


def same(x, read, block, config):
    return [x]


def subsample(x, block):
    """Every stride-th pixel."""
    return layers.AveragePooling2D(1, block.stride, name=f"{block.name}_skip_pool")(x) if block.stride > 1 else x


def pool(x, block):
    return average_pool(x, block.stride, f"{block.name}_skip") if block.step > 1 else x


def padded(reduce, even=False):
    """Zero channels for the missing ones: after what is there, or split evenly before and after it."""

    def path(x, read, block, config):
        missing = block.filters - x.shape[-1]
        before = missing // 2 if even else 0
        return [pad_channels(reduce(x, block), before, missing - before, f"{block.name}_skip")]

    return path


def project(x, read, block, config):
    """A 1x1 convolution of what the branch reads."""
    x = conv(read, block.filters, 1, f"{block.name}_skip", stride=block.stride)
    return [ORDERS[config.order].after(x, f"{block.name}_skip")]


def pool_project(x, read, block, config):
    """Average pool, then a 1x1 convolution: He et al. 2019 (bag of tricks), figure 2c."""
    x = conv(pool(read, block), block.filters, 1, f"{block.name}_skip")
    return [ORDERS[config.order].after(x, f"{block.name}_skip")]


def drop_shortcut(read, paths, block, config):
    """Dropout shortcut: He et al. 2016, section 3.1."""
    return [dropout(paths[0], 0.5, f"{block.name}_skip"), *paths[1:]]


def scaled(shortcut_factor, branch_factor):
    """Constant scaling: He et al. 2016, section 3.1."""

    def weigh(read, paths, block, config):
        factors = (shortcut_factor, *[branch_factor] * config.branches)
        names = (f"{block.name}_{path}_scale" for path in ("skip", *config.letters))
        return [layers.Rescaling(factor, name=name)(path) if factor != 1 else path
                for factor, name, path in zip(factors, names, paths, strict=True)]  # fmt: skip

    return weigh


def gated(exclusive):
    """(1 - g) x + g F(x), or (1 - g) x + F(x), with g = sigmoid(W x + b): He et al. 2016, section 3.1."""

    def weigh(read, paths, block, config):
        name, (shortcut, *branches) = f"{block.name}_gate", paths
        bias = initializers.Constant(config.gate_bias)
        gate = conv(read, block.filters, 1, name, stride=block.stride, use_bias=True, bias_initializer=bias,
                    activation="sigmoid")  # fmt: skip
        rest = layers.Rescaling(-1.0, 1.0, name=f"{name}_rest")(gate)
        if exclusive:
            branches = [layers.Multiply(name=f"{block.name}_{letter}_gated")([path, gate])
                        for letter, path in zip(config.letters, branches, strict=True)]  # fmt: skip
        return [layers.Multiply(name=f"{block.name}_skip_gated")([shortcut, rest]), *branches]

    return weigh


pad, append, pool_pad = padded(subsample, even=True), padded(subsample), padded(pool)

SHORTCUTS = {  # (where the shape changes, where it does not), and what weighs the paths before the sum
    "none": (none, none),  # plain
    "A": (pad, same),  # He et al. 2015, section 3.3; zero channels split as akamaster's
    "A_append": (append, same),
    "B": (project, same),
    "C": (project, project),
    "D": (pool_project, same),
    "pyramid": (pool_pad, same),  # Han et al. 2017, section 3.2
    "constant_scaling": (pad, same, scaled(0.5, 0.5)),  # He et al. 2016, table 1, from here on
    "shortcut_scaling": (pad, same, scaled(0.5, 1)),
    "exclusive_gating": (pad, same, gated(exclusive=True)),
    "shortcut_only_gating": (pad, same, gated(exclusive=False)),
    "conv": (project, project),  # option C, by the paper's own words
    "dropout": (pad, same, drop_shortcut),
}


def residual_block(x, block, config):
    """y = out(shortcut(x) + F_a(before(x)) + F_b(before(x)) + ...), with an F for each of the config's branches."""
    order = ORDERS[config.order]
    changed, unchanged, *weighing = SHORTCUTS[config.shortcut]
    reads = [order.before(x, f"{block.name}_{letter}0") for letter in config.letters]
    shortcut = changed if block.step > 1 or x.shape[-1] != block.filters else unchanged
    paths = shortcut(x, reads[0], block, config)  # the shortcut first: Keras walks graphs along first inputs
    paths += [branch(read, block, config, letter) for letter, read in zip(config.letters, reads, strict=True)]
    for weigh in weighing:
        paths = weigh(reads[0], paths, block, config)
    x = layers.Add(name=f"{block.name}_sum")(paths) if len(paths) > 1 else paths[0]
    return order.out(x, f"{block.name}_out")


def conv_norm_relu(x, filters, kernel_size, name, stride=1):
    return norm_relu(conv(x, filters, kernel_size, name, stride=stride), name)


def cifar(x, config):
    """3x3, then what the order puts after a branch and after a sum."""
    order = ORDERS[config.order]
    return order.out(order.after(conv(x, config.stem_filters, 3, "stem"), "stem"), "stem")


def imagenet(x, config):
    return max_pool(conv_norm_relu(x, config.stem_filters, 7, "stem", stride=2), "stem")


def imagenet_bare(x, config):
    """timm's resnetv2: nothing between the convolution and the pool."""
    return max_pool_signed(conv(x, config.stem_filters, 7, "stem", stride=2), "stem")


def imagenet_caffe(x, config):
    """The first published weights': Caffe rounds sizes up, so that the pool's border is behind the last pixel only."""
    return max_pool(conv_norm_relu(x, config.stem_filters, 7, "stem", stride=2), "stem", before=0)


def deep_convolutions(x, config, last=conv_norm_relu):
    """Three 3x3 for the 7x7: He et al. 2019 (bag of tricks), figure 2b."""
    x = conv_norm_relu(x, max(1, config.stem_filters // 2), 3, "stem1", stride=2)
    x = conv_norm_relu(x, max(1, config.stem_filters // 2), 3, "stem2")
    return last(x, config.stem_filters, 3, "stem3")


def deep(x, config):
    return max_pool(deep_convolutions(x, config), "stem")


def deep_bare(x, config):
    """timm's resnetv2 "d": nothing between the last convolution and the pool."""
    return max_pool_signed(deep_convolutions(x, config, conv), "stem")


def deep_strided(x, config):
    """A strided convolution for the pool: Bello et al. 2021 (ResNet-RS), section 6."""
    return conv_norm_relu(deep_convolutions(x, config), config.stem_filters, 3, "stem4", stride=2)


STEMS = {"cifar": cifar, "imagenet": imagenet, "imagenet_bare": imagenet_bare, "imagenet_caffe": imagenet_caffe,
         "deep": deep, "deep_bare": deep_bare, "deep_strided": deep_strided}  # fmt: skip
