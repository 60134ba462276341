"""The arithmetic of a residual network: a network is a row, and a row is a plan of blocks."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from string import ascii_lowercase
from typing import Literal, get_args

from keras_resnet.checks import FLAG, NUMBER, POSITIVE, RATE, Rule, between, expect, expect_rules, is_list_of, one_of
from keras_resnet.networks.limits import CHANNELS, MOST_CHANNELS, MOST_PIXELS, stages_of

StemName = Literal["cifar", "imagenet", "imagenet_bare", "imagenet_caffe", "deep", "deep_bare", "deep_strided"]
OrderName = Literal["post", "norm_after_sum", "relu_before_sum", "relu_only", "pre", "pyramid"]
BranchName = Literal["basic", "bottleneck", "single"]
TableName = Literal[  # He et al. 2016, table 1
    "constant_scaling", "shortcut_scaling", "exclusive_gating", "shortcut_only_gating", "conv", "dropout"
]
ShortcutName = Literal["none", "A", "A_append", "B", "C", "D", "pyramid", TableName, "double", "square"]

NARROWING = ("none", "B", "C", "D", "conv")  # the other shortcuts pad channels with zeros
STEM_STRIDES = {stem: 1 if stem == "cifar" else 4 for stem in get_args(StemName)}
SMALLEST_SIZE = 8  # pixels
PIXELS = between(SMALLEST_SIZE, MOST_PIXELS)
LONGEST_CHAIN = 750  # layers: Keras walks a graph recursively along first inputs, and Python stops at 1,000 calls


@dataclass(frozen=True, kw_only=True)
class ResNetConfig:
    """One plain or residual network. Its fields are checked when it is made: a ValueError names what is wrong.

    >>> from dataclasses import replace
    >>> from keras_resnet import ResNetConfig
    >>> resnet50 = ResNetConfig(stages=((256,) * 3, (512,) * 4, (1024,) * 6, (2048,) * 3),
    ...                         stem="imagenet", stem_filters=64, branch="bottleneck")
    >>> resnext50_32x4d = replace(resnet50, inner=1 / 2, groups=32)
    """

    stages: tuple[tuple[int, ...], ...]  # output channels of every block, stage by stage: depth, width, pyramid in one
    stem: StemName = "cifar"
    stem_filters: int = 16
    order: OrderName = "post"  # where norm and activation sit
    branch: BranchName = "basic"  # what a branch convolves
    shortcut: ShortcutName = "B"  # what the other path does
    inner: float = 0.25  # bottleneck width over block width: 1/4 is He's, 1/2 widens
    groups: int = 1  # cardinality of the bottleneck's 3x3
    stride_in: Literal["1x1", "3x3"] = "3x3"  # the bottleneck conv that strides: He 2015's, or torchvision's
    branches: int = 1  # residual functions summed per block
    se_ratio: int = 0  # squeeze-and-excitation reduction of the block's channels; 0 leaves it out
    dropout: float = 0.0  # inside a branch, before its later convolutions
    drop_path: float = 0.0  # rate at the last block, falling linearly towards the first
    drop_path_per: Literal["sample", "batch"] = "sample"  # the paper's is "batch": what is dropped is not computed
    head_dropout: float = 0.0  # before the classifier
    zero_init: bool = False  # the branch starts at zero: the block starts as the identity
    output_stride: int = 32  # 8 or 16 trades strides for dilation
    gate_bias: float = -6.0  # of the gated shortcuts only; -6 is the best of He et al. 2016, table 1
    image_size: int | None = None  # the published input in pixels, where it is not the 32 or 224 that the stem implies

    smallest_size = SMALLEST_SIZE

    def __post_init__(self) -> None:
        expect_rules(_RULES, self)
        object.__setattr__(self, "stages", tuple(tuple(map(int, stage)) for stage in self.stages))  # JSON has lists
        channels = [self.stem_filters, *(filters for stage in self.stages for filters in stage)]
        one_group = f"1 where `branch={self.branch!r}`: only a bottleneck's 3x3 convolution has groups"
        expect(self.groups == 1 or self.branch == "bottleneck", "groups", one_group, self.groups)
        widest = self.width(max(channels[1:]))
        expect(widest <= MOST_CHANNELS, "inner", f"at most {MOST_CHANNELS:,} channels inside a block", self.inner)
        for width in sorted({self.width(filters) for filters in channels[1:]}):
            expect(width % self.groups == 0, "groups", f"a divisor of the bottleneck's width {width}", self.groups)
        narrowing = f"one of {', '.join(NARROWING)} where a block narrows: zero-padding cannot"
        expect(self.shortcut in NARROWING or channels == sorted(channels), "shortcut", narrowing, self.shortcut)
        silenced = "False for a plain network (`shortcut='none'`), which it would silence"
        expect(not (self.zero_init and self.shortcut == "none"), "zero_init", silenced, self.zero_init)
        stuck = "False where a relu ends the branch: at zero it passes no gradient"
        expect(not (self.zero_init and self.order == "relu_before_sum"), "zero_init", stuck, self.zero_init)

    def width(self, filters: int) -> int:
        """The channels inside the bottleneck of a block of that many: the nearest integer, at least 1."""
        return max(1, math.floor(filters * self.inner + 0.5))

    @property
    def letters(self) -> str:
        """The names of the branches."""
        return ascii_lowercase[: self.branches]

    @property
    def classes(self) -> int:
        return 10 if self.stem == "cifar" else 1000

    @property
    def input_shape(self) -> tuple[int, int, int]:
        size = self.image_size or (32 if self.stem == "cifar" else 224)
        return size, size, 3


_RULES: dict[str, Rule] = {
    "stages": stages_of(
        is_list_of(CHANNELS.holds), len, "stages of blocks' output channels, such as ((16, 16), (32,))"
    ),
    "stem": one_of(*get_args(StemName)),
    "order": one_of(*get_args(OrderName)),
    "branch": one_of(*get_args(BranchName)),
    "shortcut": one_of(*get_args(ShortcutName)),
    "stride_in": one_of("1x1", "3x3"),
    "drop_path_per": one_of("sample", "batch"),
    "output_stride": one_of(8, 16, 32),
    "inner": Rule(lambda share: POSITIVE.holds(share) and share <= MOST_CHANNELS, POSITIVE.expected),
    "gate_bias": NUMBER,
    "zero_init": FLAG,
    "se_ratio": between(0, MOST_CHANNELS),
    "branches": between(1, 26),
    "image_size": Rule(lambda size: size is None or PIXELS.holds(size), f"None or {PIXELS.expected}"),
    **dict.fromkeys(("stem_filters", "groups"), CHANNELS),
    **dict.fromkeys(("dropout", "drop_path", "head_dropout"), RATE),
}


@dataclass(frozen=True)
class Block:
    name: str
    filters: int
    step: int  # 2 where the paper's network halves the image, else 1
    stride: int  # the step, or 1 where dilation stands in for it
    dilation: int  # up to the convolution that strides
    drop_path: float

    @property
    def dilation_after(self) -> int:
        """Of the convolutions behind the one that strides: they see what they saw before the trade."""
        return self.dilation * self.step // self.stride


def plan(config: ResNetConfig) -> Iterator[Block]:
    """The blocks in order. Block l of L drops its path at rate drop_path * l / L (Huang et al. 2016, equation 4)."""
    total, position = sum(map(len, config.stages)), 0
    reached, dilation = STEM_STRIDES[config.stem], 1
    for stage, widths in enumerate(config.stages, start=1):
        for index, filters in enumerate(widths, start=1):
            position += 1
            step = 2 if stage > 1 and index == 1 else 1
            stride = step if reached * step <= config.output_stride else 1
            rate = config.drop_path * position / total
            block = Block(f"stage{stage}_block{index}", filters, step, stride, dilation, rate)
            yield block
            reached, dilation = reached * stride, block.dilation_after
