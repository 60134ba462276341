"""What the shortcuts that only papers compare do to the paths before their sum."""

from collections.abc import Callable

from keras import KerasTensor, initializers, layers

from keras_resnet.networks.config import Block, ResNetConfig
from keras_resnet.networks.layers import conv, dropout

Paths = list[KerasTensor]
Weigh = Callable[[KerasTensor, Paths, Block, ResNetConfig], Paths]  # what the branches read, the shortcut and they


def drop_shortcut(read: KerasTensor, paths: Paths, block: Block, config: ResNetConfig) -> Paths:
    """Dropout shortcut: He et al. 2016, section 3.1."""
    return [dropout(paths[0], 0.5, f"{block.name}_skip"), *paths[1:]]


def scaled(shortcut_factor: float, branch_factor: float) -> Weigh:
    """Constant scaling: He et al. 2016, section 3.1."""

    def scale(x: KerasTensor, factor: float, name: str) -> KerasTensor:
        return layers.Rescaling(factor, name=f"{name}_scale")(x) if factor != 1 else x

    def weigh(read: KerasTensor, paths: Paths, block: Block, config: ResNetConfig) -> Paths:
        shortcut, *branches = paths
        pairs = zip(branches, config.letters, strict=True)
        scaled_branches = [scale(path, branch_factor, f"{block.name}_{letter}") for path, letter in pairs]
        return [scale(shortcut, shortcut_factor, f"{block.name}_skip"), *scaled_branches]

    return weigh


def gated(exclusive: bool) -> Weigh:
    """(1 - g) x + g F(x), or (1 - g) x + F(x), with g = sigmoid(W x + b): He et al. 2016, section 3.1."""

    def times(x: KerasTensor, gate: KerasTensor, name: str) -> KerasTensor:
        return layers.Multiply(name=f"{name}_gated")([x, gate])

    def weigh(read: KerasTensor, paths: Paths, block: Block, config: ResNetConfig) -> Paths:
        name, (shortcut, *branches) = f"{block.name}_gate", paths
        sigmoid = dict(use_bias=True, bias_initializer=initializers.Constant(config.gate_bias), activation="sigmoid")
        gate = conv(read, block.filters, 1, name, stride=block.stride, **sigmoid)
        rest = layers.Rescaling(-1.0, 1.0, name=f"{name}_rest")(gate)
        if exclusive:
            pairs = zip(branches, config.letters, strict=True)
            branches = [times(path, gate, f"{block.name}_{letter}") for path, letter in pairs]
        return [times(shortcut, rest, f"{block.name}_skip"), *branches]

    return weigh


def squared(read: KerasTensor, paths: Paths, block: Block, config: ResNetConfig) -> Paths:
    """h(x) = x ** 2, whose gradient is anything but the identity's."""
    return [layers.Multiply(name=f"{block.name}_skip_square")([paths[0], paths[0]]), *paths[1:]]
