"""DenseNet, whose layers concatenate what residual blocks would sum (Huang et al. 2017)."""

from dataclasses import dataclass
from typing import Literal, Unpack

import keras
from keras import layers

from keras_resnet.checks import COUNT, RATE, Rule, at_least, expect_rules, is_list_of, is_number, one_of
from keras_resnet.networks.builder import Interface, functional
from keras_resnet.networks.layers import conv, dropout, max_pool, norm_relu


@dataclass(frozen=True, kw_only=True)
class DenseNetConfig:
    """One DenseNet (Huang et al. 2017); BC has `bottleneck` 4 and `compression` 0.5."""

    stages: tuple[int, ...]  # layers of every dense block
    growth: int = 12  # channels that a layer adds: k
    stem: Literal["cifar", "imagenet"] = "cifar"
    stem_filters: int = 16
    bottleneck: int = 0  # width of a layer's 1x1 convolution in growths; 0 leaves it out
    compression: float = 1.0  # channels kept by a transition: theta
    dropout: float = 0.0  # after every convolution but the first; the paper's 0.2 is for data without augmentation
    head_dropout: float = 0.0

    def __post_init__(self):
        expect_rules(_RULES, self)
        object.__setattr__(self, "stages", tuple(map(int, self.stages)))

    @property
    def classes(self) -> int:
        return 10 if self.stem == "cifar" else 1000

    @property
    def input_shape(self) -> tuple[int, int, int]:
        return (32, 32, 3) if self.stem == "cifar" else (224, 224, 3)

    @property
    def smallest_size(self) -> int:
        """Each transition halves and rounds down; the ImageNet stem halves twice and rounds up."""
        pixels = 2 ** (len(self.stages) - 1)
        return pixels if self.stem == "cifar" else 4 * pixels - 3


_RULES: dict[str, Rule] = {
    "stages": Rule(is_list_of(COUNT.holds), "the layers of every dense block, as in (6, 12, 24, 16)"),
    "stem": one_of("cifar", "imagenet"),
    "bottleneck": at_least(0),
    "compression": Rule(lambda kept: is_number(kept) and 0 < kept <= 1, "a share in (0, 1]"),
    **dict.fromkeys(("growth", "stem_filters"), COUNT),
    **dict.fromkeys(("dropout", "head_dropout"), RATE),
}


def densenet(config: DenseNetConfig, *, name: str = "densenet", **interface: Unpack[Interface]) -> keras.Model:
    """The network of a row; `interface` is that of `keras_resnet.build`.

    >>> import keras_resnet
    >>> keras_resnet.densenet(keras_resnet.DenseNetConfig(stages=(2, 2), growth=4)).output.shape
    (None, 10)
    """
    return functional(trunk, config, name=name, **interface)


def trunk(x, config):
    x = stem(x, config)
    for stage, count in enumerate(config.stages, start=1):
        if stage > 1:
            x = transition(x, config, f"stage{stage}_in")
        for index in range(1, count + 1):
            name = f"stage{stage}_block{index}"
            x = layers.Concatenate(name=f"{name}_concat")([x, dense_layer(x, config, f"{name}_a")])
    return norm_relu(x, "head")


def stem(x, config):
    if config.stem == "cifar":
        return conv(x, config.stem_filters, 3, "stem")
    return max_pool(norm_relu(conv(x, config.stem_filters, 7, "stem", stride=2), "stem"), "stem")


def dense_layer(x, config, name):
    """H(x) of equation 2: norm-relu-conv, with a 1x1 before the 3x3 in B."""
    x, index = norm_relu(x, f"{name}0"), 1
    if config.bottleneck:
        x = dropout(conv(x, config.bottleneck * config.growth, 1, f"{name}1"), config.dropout, f"{name}1")
        x, index = norm_relu(x, f"{name}1"), 2
    return dropout(conv(x, config.growth, 3, f"{name}{index}"), config.dropout, f"{name}{index}")


def transition(x, config, name):
    filters = max(1, int(x.shape[-1] * config.compression))
    x = dropout(conv(norm_relu(x, name), filters, 1, name), config.dropout, name)
    return layers.AveragePooling2D(2, name=f"{name}_pool")(x)
