"""A function for every network, with the arguments of keras.applications: one import changed, the code runs on."""

from inspect import Parameter, Signature, cleandoc, signature
from typing import TYPE_CHECKING, Any, Protocol

from keras_resnet.networks.arguments import Shape
from keras_resnet.networks.zoo import build, paper

if TYPE_CHECKING:
    import keras

__all__: list[str] = []  # every function that is made below


class Application(Protocol):
    __name__: str

    def __call__(
        self,
        include_top: bool = True,
        weights: Any = None,
        input_tensor: Any = None,
        input_shape: Shape | None = None,
        pooling: str | None = None,
        classes: int | None = None,
        classifier_activation: Any = "softmax",
        name: str = ...,
        *,
        channel_order: str | None = None,
        remat: bool = False,
        **config_changes: Any,
    ) -> "keras.Model":
        """The network, with the arguments of keras.applications, in their order.

        The defaults are those of keras.applications, except that `weights` is None (nothing is downloaded unasked), and
        `classes` None. Images are NHWC floats, RGB.

        Args:
            include_top: Whether pooling and classifier follow the last stage.
            weights: None, or a source that `keras_resnet.load_weights` reads: "imagenet", a tag of
                `keras_resnet.pretrained()`, "cifar10", "hf://owner/repo", a Keras model, or the path of a file. The row
                gets the fields that the source's weights imply.
            input_tensor: A Keras tensor to build upon, instead of a new input.
            input_shape: (height, width, channels), None for any height or width; by default that of the weights'
                published accuracy, or the paper's, or (None, None, 3) without the top.
            pooling: Without the top: "avg" or "max" for a vector an image, None for the last stage's NHWC output.
            classes: Outputs of the classifier; the weights' or else the paper's by default. Another number than the
                weights' replaces their classifier by a new one.
            classifier_activation: Any Keras activation; None gives logits, always in float32.
            name: Of the model; the network's by default.
            channel_order: "RGB" or "BGR", if the weights' network was trained on another order of channels than its
                project's: see `keras_resnet.load_weights`. The images of the model are RGB anyway.
            remat: Whether training computes each block again going back, to keep what it reads and no more: see
                `keras_resnet.rematerialize`.
            **config_changes: Fields of the network's row, such as `shortcut="A"`: see `keras_resnet.NETWORKS`.

        Returns:
            An uncompiled functional `keras.Model`.

        Raises:
            ValueError: With the argument, what was expected and what was received; before anything is built, except for
                weights of another network.
        """
        ...


ARGUMENTS = list(signature(Application.__call__).parameters.values())[1:]
DOCUMENTATION = cleandoc(Application.__call__.__doc__ or "")


def _application(function: str) -> Application:
    network = function.lower().replace("plainnet", "plain").replace("wideresnet", "wide_resnet")
    arguments = Signature([named(network, argument) for argument in ARGUMENTS])

    def application(*args: Any, **kwargs: Any) -> "keras.Model":
        given = arguments.bind(*args, **kwargs).arguments
        return build(network, **given.pop("config_changes", {}), **given)

    application.__name__ = application.__qualname__ = function
    application.__signature__ = arguments  # type: ignore[attr-defined]
    application.__annotations__ = Application.__call__.__annotations__
    application.__doc__ = f"{network}: {paper(network)}.\n\n{DOCUMENTATION}\n"
    __all__.append(function)
    return application  # type: ignore[return-value]


def named(network: str, argument: Parameter) -> Parameter:
    """The model is named as the network, unless it is told otherwise."""
    return argument.replace(default=network) if argument.name == "name" else argument


# He et al. 2015
PlainNet18 = _application("PlainNet18")
PlainNet34 = _application("PlainNet34")
PlainNet20 = _application("PlainNet20")
PlainNet32 = _application("PlainNet32")
PlainNet44 = _application("PlainNet44")
PlainNet56 = _application("PlainNet56")
PlainNet110 = _application("PlainNet110")
PlainNet1202 = _application("PlainNet1202")
ResNet18 = _application("ResNet18")
ResNet34 = _application("ResNet34")
ResNet50 = _application("ResNet50")
ResNet101 = _application("ResNet101")
ResNet152 = _application("ResNet152")
ResNet200 = _application("ResNet200")
ResNet20 = _application("ResNet20")
ResNet32 = _application("ResNet32")
ResNet44 = _application("ResNet44")
ResNet56 = _application("ResNet56")
ResNet110 = _application("ResNet110")
ResNet1202 = _application("ResNet1202")

# He et al. 2016
ResNet164 = _application("ResNet164")
ResNet1001 = _application("ResNet1001")
ResNet18V2 = _application("ResNet18V2")
ResNet34V2 = _application("ResNet34V2")
ResNet50V2 = _application("ResNet50V2")
ResNet101V2 = _application("ResNet101V2")
ResNet152V2 = _application("ResNet152V2")
ResNet200V2 = _application("ResNet200V2")
ResNet110V2 = _application("ResNet110V2")
ResNet164V2 = _application("ResNet164V2")
ResNet1001V2 = _application("ResNet1001V2")

# Zagoruyko and Komodakis 2016
WideResNet16_2 = _application("WideResNet16_2")
WideResNet16_4 = _application("WideResNet16_4")
WideResNet16_8 = _application("WideResNet16_8")
WideResNet16_10 = _application("WideResNet16_10")
WideResNet22_8 = _application("WideResNet22_8")
WideResNet28_2 = _application("WideResNet28_2")
WideResNet28_10 = _application("WideResNet28_10")
WideResNet28_12 = _application("WideResNet28_12")
WideResNet40_1 = _application("WideResNet40_1")
WideResNet40_2 = _application("WideResNet40_2")
WideResNet40_4 = _application("WideResNet40_4")
WideResNet40_8 = _application("WideResNet40_8")
WideResNet50_2 = _application("WideResNet50_2")
WideResNet101_2 = _application("WideResNet101_2")

# Larsson et al. 2017
FractalNet20 = _application("FractalNet20")

# Huang et al. 2017
DenseNet40_K12 = _application("DenseNet40_K12")
DenseNet100_K12 = _application("DenseNet100_K12")
DenseNet100_K24 = _application("DenseNet100_K24")
DenseNetBC100_K12 = _application("DenseNetBC100_K12")
DenseNetBC250_K24 = _application("DenseNetBC250_K24")
DenseNetBC190_K40 = _application("DenseNetBC190_K40")
DenseNet121 = _application("DenseNet121")
DenseNet169 = _application("DenseNet169")
DenseNet201 = _application("DenseNet201")
DenseNet264 = _application("DenseNet264")
DenseNet161 = _application("DenseNet161")

# Abdi and Nahavandi 2016
MultiResNet200_K5 = _application("MultiResNet200_K5")
MultiResNet398_K5 = _application("MultiResNet398_K5")
MultiResNet26_10_K2 = _application("MultiResNet26_10_K2")
MultiResNet26_10_K4 = _application("MultiResNet26_10_K4")

# Han et al. 2017
PyramidNet110_A48 = _application("PyramidNet110_A48")
PyramidNet110_A84 = _application("PyramidNet110_A84")
PyramidNet110_A270 = _application("PyramidNet110_A270")
PyramidNet164_A48 = _application("PyramidNet164_A48")
PyramidNet164_A84 = _application("PyramidNet164_A84")
PyramidNet164_A270 = _application("PyramidNet164_A270")
PyramidNet200_A240 = _application("PyramidNet200_A240")
PyramidNet236_A220 = _application("PyramidNet236_A220")
PyramidNet272_A200 = _application("PyramidNet272_A200")

# Xie et al. 2017
ResNeXt29_32x4d = _application("ResNeXt29_32x4d")
ResNeXt29_8x64d = _application("ResNeXt29_8x64d")
ResNeXt29_16x64d = _application("ResNeXt29_16x64d")
ResNeXt50_32x4d = _application("ResNeXt50_32x4d")
ResNeXt101_32x4d = _application("ResNeXt101_32x4d")
ResNeXt152_32x4d = _application("ResNeXt152_32x4d")
ResNeXt101_32x8d = _application("ResNeXt101_32x8d")
ResNeXt101_64x4d = _application("ResNeXt101_64x4d")

# Mahajan et al. 2018
ResNeXt101_32x16d = _application("ResNeXt101_32x16d")
ResNeXt101_32x32d = _application("ResNeXt101_32x32d")

# Hu et al. 2018
SEResNet20 = _application("SEResNet20")
SEResNet110 = _application("SEResNet110")
SEResNet50 = _application("SEResNet50")
SEResNet101 = _application("SEResNet101")
SEResNet152 = _application("SEResNet152")
SEResNeXt50_32x4d = _application("SEResNeXt50_32x4d")
SEResNeXt101_32x4d = _application("SEResNeXt101_32x4d")

# He et al. 2019
ResNet18D = _application("ResNet18D")
ResNet34D = _application("ResNet34D")
ResNet50D = _application("ResNet50D")
ResNet101D = _application("ResNet101D")
ResNet152D = _application("ResNet152D")
ResNet200D = _application("ResNet200D")
ResNet26D = _application("ResNet26D")
ResNeXt50D_32x4d = _application("ResNeXt50D_32x4d")

# Bello et al. 2021
ResNetRS50 = _application("ResNetRS50")
ResNetRS101 = _application("ResNetRS101")
ResNetRS152 = _application("ResNetRS152")
ResNetRS200 = _application("ResNetRS200")
ResNetRS270 = _application("ResNetRS270")
ResNetRS350 = _application("ResNetRS350")
ResNetRS420 = _application("ResNetRS420")
