"""The rows of the other families, DenseNet and FractalNet, and what a row of any family is."""

from dataclasses import dataclass
from typing import Literal

from keras_resnet.checks import RATE, Rule, between, expect, expect_rules, is_number, one_of
from keras_resnet.networks.config import LONGEST_CHAIN, ResNetConfig
from keras_resnet.networks.limits import CHANNELS, MOST_BLOCKS, MOST_CHANNELS, stages_of


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

    def __post_init__(self) -> None:
        expect_rules(_DENSENET_RULES, self)
        object.__setattr__(self, "stages", tuple(map(int, self.stages)))
        wanted = f"at most {MOST_CHANNELS:,} channels inside a layer"
        expect(self.growth * self.bottleneck <= MOST_CHANNELS, "bottleneck", wanted, self.bottleneck)

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


_DENSENET_RULES: dict[str, Rule] = {
    "stages": stages_of(between(1, MOST_BLOCKS).holds, int, "the layers of every dense block, as in (6, 12, 24, 16)"),
    "stem": one_of("cifar", "imagenet"),
    "bottleneck": between(0, MOST_CHANNELS),
    "compression": Rule(lambda kept: is_number(kept) and 0 < kept <= 1, "a share in (0, 1]"),
    **dict.fromkeys(("growth", "stem_filters"), CHANNELS),
    **dict.fromkeys(("dropout", "head_dropout"), RATE),
}


@dataclass(frozen=True, kw_only=True)
class FractalNetConfig:
    """One FractalNet (Larsson et al. 2017). The paper also trains it with `drop_path` 0.15, `dropout` 0.4."""

    stages: tuple[int, ...]  # channels of every fractal block: B blocks
    columns: int = 3  # C: 2 ** (C - 1) convolutions on the longest path of a block
    drop_path: float = 0.0  # of an input of a join, in samples that draw local drop-path
    global_share: float = 0.5  # of the samples, which keep one column throughout instead
    dropout: float = 0.0  # in the last block, rising linearly from 0 in the first
    head_dropout: float = 0.0

    classes = 10
    input_shape = (32, 32, 3)

    def __post_init__(self) -> None:
        expect_rules(_FRACTALNET_RULES, self)
        chain = 3 * len(self.stages) * 2 ** (self.columns - 1)
        few_enough = f"so few that {LONGEST_CHAIN} layers make the longest path"
        expect(chain <= LONGEST_CHAIN, "columns", few_enough, self.columns)
        object.__setattr__(self, "stages", tuple(map(int, self.stages)))

    @property
    def smallest_size(self) -> int:
        return 2 ** (len(self.stages) - 1)


_FRACTALNET_RULES: dict[str, Rule] = {
    "stages": stages_of(CHANNELS.holds, lambda _: 1, "the channels of every block, as in (64, 128, 256, 512, 512)"),
    "columns": between(1, 8),
    "global_share": Rule(lambda share: is_number(share) and 0 <= share <= 1, "a share in [0, 1]"),
    **dict.fromkeys(("drop_path", "dropout", "head_dropout"), RATE),
}


Config = ResNetConfig | DenseNetConfig | FractalNetConfig

FAMILIES: dict[type, str] = {ResNetConfig: "resnet", DenseNetConfig: "densenet", FractalNetConfig: "fractalnet"}
