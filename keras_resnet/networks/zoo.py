"""Every published network by its name: the rows, paper by paper, and what builds them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from keras_resnet.checks import expect_known, plain
from keras_resnet.networks.arguments import Head, Shape, check_arguments, check_channel_order, expect_fields
from keras_resnet.networks.config import BranchName, ResNetConfig
from keras_resnet.networks.families import FAMILIES, Config, DenseNetConfig, FractalNetConfig

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Paper:
    authors: str
    title: str
    arxiv: str

    def __str__(self) -> str:
        return f"{self.authors}, {self.title}, arXiv:{self.arxiv}"


HE_2015 = Paper("He et al. 2015", "Deep Residual Learning for Image Recognition", "1512.03385")
HE_2016 = Paper("He et al. 2016", "Identity Mappings in Deep Residual Networks", "1603.05027")
ZAGORUYKO_2016 = Paper("Zagoruyko and Komodakis 2016", "Wide Residual Networks", "1605.07146")
LARSSON_2017 = Paper("Larsson et al. 2017", "FractalNet: Ultra-Deep Neural Networks without Residuals", "1605.07648")
HUANG_2017 = Paper("Huang et al. 2017", "Densely Connected Convolutional Networks", "1608.06993")
ABDI_2016 = Paper("Abdi and Nahavandi 2016", "Multi-Residual Networks", "1609.05672")
HAN_2017 = Paper("Han et al. 2017", "Deep Pyramidal Residual Networks", "1610.02915")
XIE_2017 = Paper("Xie et al. 2017", "Aggregated Residual Transformations for Deep Neural Networks", "1611.05431")
HU_2018 = Paper("Hu et al. 2018", "Squeeze-and-Excitation Networks", "1709.01507")
HE_2019 = Paper("He et al. 2019", "Bag of Tricks for Image Classification with CNNs", "1812.01187")
MAHAJAN_2018 = Paper("Mahajan et al. 2018", "Exploring the Limits of Weakly Supervised Pretraining", "1805.00932")
BELLO_2021 = Paper("Bello et al. 2021", "Revisiting ResNets: Improved Training and Scaling Strategies", "2103.07579")

IMAGENET_BLOCKS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    200: (3, 24, 36, 3),
}
RS_BLOCKS = {
    50: (160, IMAGENET_BLOCKS[50]),
    101: (192, IMAGENET_BLOCKS[101]),
    152: (256, IMAGENET_BLOCKS[152]),
    200: (256, (3, 24, 36, 3)),
    270: (256, (4, 29, 53, 4)),
    350: (288, (4, 36, 72, 4)),
    420: (320, (4, 44, 87, 4)),
}


def widths(blocks: Sequence[int], filters: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """((f1,) * n1, (f2,) * n2, ...)"""
    return tuple((width,) * count for count, width in zip(blocks, filters, strict=True))


def imagenet(depth: int, **changes: Any) -> ResNetConfig:
    """He et al. 2015, table 1."""
    branch: BranchName = "basic" if depth < 50 else "bottleneck"
    filters = 64 if branch == "basic" else 256
    stages = widths(IMAGENET_BLOCKS[depth], [filters * 2**stage for stage in range(4)])
    return replace(ResNetConfig(stages=stages, stem="imagenet", stem_filters=64, branch=branch), **changes)


def cifar(depth: int, **changes: Any) -> ResNetConfig:
    """He et al. 2015, section 4.2: 6n + 2 layers."""
    return replace(ResNetConfig(stages=widths([(depth - 2) // 6] * 3, (16, 32, 64))), **changes)


def cifar_bottleneck(depth: int, **changes: Any) -> ResNetConfig:
    """He et al. 2016, section 4: 9n + 2 layers."""
    stages = widths([(depth - 2) // 9] * 3, (64, 128, 256))
    return replace(ResNetConfig(stages=stages, branch="bottleneck"), **changes)


def wide(depth: int, k: int, **changes: Any) -> ResNetConfig:
    """Zagoruyko and Komodakis 2016, table 1: 6n + 4 layers, k times as wide."""
    stages = widths([(depth - 4) // 6] * 3, (16 * k, 32 * k, 64 * k))
    return replace(ResNetConfig(stages=stages, order="pre"), **changes)


def resnext29(groups: int, width: int) -> ResNetConfig:
    """Xie et al. 2017, section 5.3."""
    stages = widths((3, 3, 3), (256, 512, 1024))
    return ResNetConfig(stages=stages, stem_filters=64, branch="bottleneck", inner=groups * width / 256, groups=groups)


def pyramid(depth: int, alpha: int, branch: BranchName = "basic") -> ResNetConfig:
    """Han et al. 2017, equation 3: block k of N has 16 + k alpha / N channels, rounded; bottlenecks 4 times."""
    convolutions, expansion = (2, 1) if branch == "basic" else (3, 4)
    per_stage = (depth - 2) // (3 * convolutions)
    channels = [expansion * round(16 + k * alpha / (3 * per_stage)) for k in range(1, 3 * per_stage + 1)]
    stages = tuple(tuple(channels[start : start + per_stage]) for start in range(0, len(channels), per_stage))
    return ResNetConfig(stages=stages, order="pyramid", shortcut="pyramid", branch=branch)


def rs(depth: int) -> ResNetConfig:
    """Bello et al. 2021, table 11."""
    size, blocks = RS_BLOCKS[depth]
    stages = widths(blocks, (256, 512, 1024, 2048))
    return imagenet(50, stages=stages, stem="deep_strided", shortcut="D", se_ratio=4, image_size=size)


def densenet_imagenet(stages: tuple[int, ...], growth: int) -> DenseNetConfig:
    """Huang et al. 2017, table 1."""
    return DenseNetConfig(
        stages=stages, growth=growth, stem="imagenet", stem_filters=2 * growth, bottleneck=4, compression=0.5
    )


def densenet_cifar(depth: int, growth: int) -> DenseNetConfig:
    return DenseNetConfig(stages=((depth - 4) // 3,) * 3, growth=growth)


def densenetbc_cifar(depth: int, growth: int) -> DenseNetConfig:
    return DenseNetConfig(
        stages=((depth - 4) // 6,) * 3, growth=growth, stem_filters=2 * growth, bottleneck=4, compression=0.5
    )


IMAGENET_DEPTHS = tuple(IMAGENET_BLOCKS)
CIFAR_DEPTHS = (20, 32, 44, 56, 110, 1202)

PAPERS: dict[Paper, dict[str, Config]] = {
    HE_2015: {
        **{f"plain{depth}": imagenet(depth, shortcut="none") for depth in (18, 34)},
        **{f"plain{depth}": cifar(depth, shortcut="none") for depth in CIFAR_DEPTHS},
        **{f"resnet{depth}": imagenet(depth) for depth in IMAGENET_DEPTHS},
        **{f"resnet{depth}": cifar(depth, shortcut="A") for depth in CIFAR_DEPTHS},
    },
    HE_2016: {
        **{f"resnet{depth}": cifar_bottleneck(depth) for depth in (164, 1001)},
        **{f"resnet{depth}v2": imagenet(depth, order="pre") for depth in IMAGENET_DEPTHS},
        "resnet110v2": cifar(110, order="pre"),
        **{f"resnet{depth}v2": cifar_bottleneck(depth, order="pre") for depth in (164, 1001)},
    },
    ZAGORUYKO_2016: {
        **{
            f"wide_resnet{depth}_{k}": wide(depth, k)
            for depth, ks in {16: (2, 4, 8, 10), 22: (8,), 28: (2, 10, 12), 40: (1, 2, 4, 8)}.items()
            for k in ks
        },
        **{f"wide_resnet{depth}_2": imagenet(depth, inner=1 / 2) for depth in (50, 101)},
    },
    LARSSON_2017: {"fractalnet20": FractalNetConfig(stages=(64, 128, 256, 512, 512))},
    HUANG_2017: {
        "densenet40_k12": densenet_cifar(40, 12),
        "densenet100_k12": densenet_cifar(100, 12),
        "densenet100_k24": densenet_cifar(100, 24),
        "densenetbc100_k12": densenetbc_cifar(100, 12),
        "densenetbc250_k24": densenetbc_cifar(250, 24),
        "densenetbc190_k40": densenetbc_cifar(190, 40),
        "densenet121": densenet_imagenet((6, 12, 24, 16), 32),
        "densenet169": densenet_imagenet((6, 12, 32, 32), 32),
        "densenet201": densenet_imagenet((6, 12, 48, 32), 32),
        "densenet264": densenet_imagenet((6, 12, 64, 48), 32),
        "densenet161": densenet_imagenet((6, 12, 36, 24), 48),
    },
    ABDI_2016: {
        **{f"multiresnet{depth}_k5": cifar_bottleneck(depth, order="pre", branches=5) for depth in (200, 398)},
        **{f"multiresnet26_10_k{k}": wide(28, 10, branches=k) for k in (2, 4)},
    },
    HAN_2017: {
        **{f"pyramidnet110_a{alpha}": pyramid(110, alpha) for alpha in (48, 84, 270)},
        **{
            f"pyramidnet{depth}_a{alpha}": pyramid(depth, alpha, "bottleneck")
            for depth, alphas in {164: (48, 84, 270), 200: (240,), 236: (220,), 272: (200,)}.items()
            for alpha in alphas
        },
    },
    XIE_2017: {
        "resnext29_32x4d": resnext29(32, 4),
        "resnext29_8x64d": resnext29(8, 64),
        "resnext29_16x64d": resnext29(16, 64),
        **{f"resnext{depth}_32x4d": imagenet(depth, inner=1 / 2, groups=32) for depth in (50, 101, 152)},
        "resnext101_32x8d": imagenet(101, inner=1, groups=32),
        "resnext101_64x4d": imagenet(101, inner=1, groups=64),
    },
    HU_2018: {
        **{f"seresnet{depth}": cifar(depth, se_ratio=16) for depth in (20, 110)},
        **{f"seresnet{depth}": imagenet(depth, se_ratio=16) for depth in (50, 101, 152)},
        **{f"seresnext{depth}_32x4d": imagenet(depth, inner=1 / 2, groups=32, se_ratio=16) for depth in (50, 101)},
    },
    MAHAJAN_2018: {f"resnext101_32x{width}d": imagenet(101, inner=width / 8, groups=32) for width in (16, 32)},
    HE_2019: {
        **{f"resnet{depth}d": imagenet(depth, stem="deep", shortcut="D") for depth in IMAGENET_DEPTHS},
        "resnet26d": imagenet(50, stages=widths((2, 2, 2, 2), (256, 512, 1024, 2048)), stem="deep", shortcut="D"),
        "resnext50d_32x4d": imagenet(50, inner=1 / 2, groups=32, stem="deep", shortcut="D"),
    },
    BELLO_2021: {f"resnetrs{depth}": rs(depth) for depth in RS_BLOCKS},
}

NETWORKS: dict[str, Config] = {name: row for rows in PAPERS.values() for name, row in rows.items()}


def names(pattern: str = "*") -> list[str]:
    """The names of the networks that match a shell pattern, paper by paper.

    >>> import keras_resnet
    >>> keras_resnet.names("resnext50_*")
    ['resnext50_32x4d']
    """
    return [name for name in NETWORKS if fnmatchcase(name, pattern)]


def paper(name: str) -> Paper:
    """Where the network comes from."""
    expect_known("name", NETWORKS, name)
    return next(paper for paper, rows in PAPERS.items() if name in rows)


def name_of(config: Config) -> str | None:
    """The name of a published row, unchanged."""
    return next((name for name, row in NETWORKS.items() if row == config), None)


def row(network: str | Config, **config_changes: Any) -> Config:
    """The named row, or the one that is given, with those fields changed."""
    if not isinstance(network, Config):
        expect_known("network", NETWORKS, network)
    config = NETWORKS[network] if isinstance(network, str) else network
    expect_fields(config, config_changes)
    return replace(config, **config_changes) if config_changes else config


def build(
    network: str | Config,
    /,
    *,
    name: str | None = None,
    classes: int | None = None,
    input_shape: Shape | None = None,
    weights: Any = None,
    channel_order: str | None = None,
    include_top: bool = True,
    pooling: str | None = None,
    classifier_activation: Any = "softmax",
    input_tensor: Any = None,
    remat: bool = False,
    **config_changes: Any,
) -> "keras.Model":
    """The published network of that name, with any field of its row changed.

    Args:
        network: One of `keras_resnet.names()`, or a row of your own, such as a `keras_resnet.ResNetConfig`.
        name: Of the model; the network's by default, or its family's.
        classes: Outputs of the classifier; the weights' by default, or the paper's 10 or 1,000. Another number than
            the weights' replaces their classifier by a new one and keeps the rest.
        input_shape: (height, width, channels) of the images, where None stands for any size. By default the size with
            which the weights' accuracy was published, or the paper's, or (None, None, 3) without the top. Images are
            NHWC floats, RGB. One channel takes the sum of the weights' kernels for red, green and blue; other numbers
            take them in turn, scaled to the same response.
        weights: None, or a source that `keras_resnet.load_weights` reads: "imagenet", a tag of
            `keras_resnet.pretrained(network)`, a file, ... A named row gets the fields that the source's weights imply,
            such as `stride_in="1x1"` for keras.applications' ResNet-50.
        channel_order: "RGB" or "BGR", if the weights' network was trained on another order of channels than its
            project's: see `keras_resnet.load_weights`. The images of the model are RGB anyway.
        include_top: Whether pooling and classifier follow the last stage.
        pooling: Without the top: "avg" or "max" for a vector an image, None for the last stage's NHWC output.
        classifier_activation: Any Keras activation; None gives logits, always in float32.
        input_tensor: A Keras tensor to build upon, instead of a new input.
        remat: Whether training computes each block again going back, to keep what it reads and no more: see
            `keras_resnet.rematerialize`.
        **config_changes: Fields of the row, such as `shortcut="A"`, `drop_path=0.2` or `groups=32`: see
            `keras_resnet.ResNetConfig`.

    Returns:
        An uncompiled functional `keras.Model`.

    Raises:
        ValueError: Before anything is built: unknown names and fields (with the nearest ones), values out of range,
            fields that contradict each other or the weights, images too small, weights that cannot be read. Before
            anything is downloaded by keras.applications, and otherwise once the network is there to compare with:
            weights of another network.
        ConnectionError: If weights cannot be downloaded, with the file to fetch by hand.

    >>> import keras_resnet
    >>> keras_resnet.build("resnet20", shortcut="B").count_params()
    274042
    """
    config = row(network, **config_changes)
    head, input_shape = Head(include_top, pooling, classes, classifier_activation), plain(input_shape)
    published = network if isinstance(network, str) else name_of(config)
    check_channel_order(channel_order, weights)
    check_arguments(config, input_shape, weights, remat, published)

    from keras_resnet.graph.remat import rematerialize  # with Keras, for which the errors until here do not wait
    from keras_resnet.graph.skipping import skip_dropped_paths
    from keras_resnet.networks import builder
    from keras_resnet.weights import implied, load, read

    builder.check_keras(classifier_activation)
    pretrained = None if weights is None else read(weights, config.stages, published)
    if pretrained and isinstance(network, str):
        config = replace(config, **implied(pretrained, config, config_changes))
    outputs = builder.outputs_of(config, head, pretrained)
    x = builder.image_input(config, input_shape, input_tensor, include_top, pretrained)
    y = builder.network(x, config, head, outputs, pretrained)
    name = name or (network if isinstance(network, str) else FAMILIES[type(config)])
    model = builder.functional(x, y, name, config, published or name)
    if pretrained:
        keeps = builder.keeps_classifier(head, pretrained)
        load(model, pretrained, head=keeps, adapt=True, channel_order=channel_order)
    return rematerialize(model) if remat else skip_dropped_paths(model)
