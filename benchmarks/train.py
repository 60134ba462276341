"""One training step: cross-entropy, SGD with momentum."""

from functools import partial
from itertools import pairwise

from benchmarks.harness import Benchmark, Contender

ONEDNN = {"TF_ENABLE_ONEDNN_OPTS": "1"}  # as our commands set it
NO_ONEDNN = {"TF_ENABLE_ONEDNN_OPTS": "0"}  # as TensorFlow leaves it on CPUs without VNNI or AMX


def on_keras(make, batch: int, size: int, precision: str = "float32"):
    import keras
    import numpy as np

    keras.config.set_dtype_policy(precision)
    model = make()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), loss)
    images = np.random.default_rng(0).normal(size=(batch, size, size, 3)).astype("float32")
    labels = np.arange(batch) % model.output_shape[-1]
    return lambda: model.train_on_batch(images, labels)


def on_torch(make, batch: int, size: int, narrow: bool = False):
    import torch

    model = make().to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
    images = torch.randn(batch, 3, size, size).contiguous(memory_format=torch.channels_last)
    labels = torch.arange(batch) % 10

    def step():
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, narrow):
            loss = torch.nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()

    return step


def ours(name: str):
    import keras_resnet

    return keras_resnet.build(name, classifier_activation=None)


def of_stock_layers(name: str):
    import keras_resnet

    return keras_resnet.portable(ours(name))


def keras_applications(name: str):
    import keras

    return getattr(keras.applications, name)(weights=None, classifier_activation=None)


def torchvisions(name: str):
    import torchvision

    return torchvision.models.get_model(name)


def akamasters_resnet20():
    """Written out in torch, with the shortcuts A of that project."""
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self, channels, filters):
            super().__init__()
            self.stride, self.missing = (1, 0) if channels == filters else (2, filters - channels)
            self.branch = nn.Sequential(
                nn.Conv2d(channels, filters, 3, self.stride, 1, bias=False), nn.BatchNorm2d(filters), nn.ReLU(True),
                nn.Conv2d(filters, filters, 3, 1, 1, bias=False), nn.BatchNorm2d(filters),
            )  # fmt: skip

        def forward(self, x):
            shortcut = x[:, :, :: self.stride, :: self.stride]
            if self.missing:
                shortcut = nn.functional.pad(shortcut, (0, 0, 0, 0, self.missing // 2, self.missing // 2))
            return torch.relu(self.branch(x) + shortcut)

    widths = [16] * 4 + [32] * 3 + [64] * 3
    blocks = [Block(channels, filters) for channels, filters in pairwise(widths)]
    stem = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(True)]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def our(name: str, batch: int, size: int, precision: str) -> Contender:
    make = partial(on_keras, partial(ours, name), batch, size, precision)
    return Contender(f"keras_resnet {name}, {precision}", make, ONEDNN)


def keras_own(name: str, batch: int, size: int) -> tuple[Contender, ...]:
    make = partial(on_keras, partial(of_stock_layers, name), batch, size)
    return (
        Contender("the same of Keras' own layers, TensorFlow's defaults", make),
        Contender("the same of Keras' own layers, oneDNN off", make, NO_ONEDNN),
    )


def on_torchs(about: str, make, batch: int, size: int) -> tuple[Contender, ...]:
    return (
        Contender(f"torch, channels_last: {about}", partial(on_torch, make, batch, size)),
        Contender("the same under torch.autocast in bfloat16", partial(on_torch, make, batch, size, narrow=True)),
    )


def benchmark(name: str, batch: int, size: int, *peers: Contender, rounds: int = 7) -> Benchmark:
    about = f"{__doc__} {name}, {batch} images of {size} x {size}."
    both = (our(name, batch, size, precision) for precision in (HALF, "float32"))
    return Benchmark(about, (*both, *peers), rounds=rounds)


def stochastic(per: str):
    import keras_resnet

    return keras_resnet.build("resnet56", classifier_activation=None, drop_path=0.5, drop_path_per=per)


HALF = "mixed_bfloat16"
CIFAR, IMAGENET = (128, 32), (8, 224)
APPLICATIONS = partial(on_keras, partial(keras_applications, "ResNet50"), *IMAGENET)

BENCHMARKS = {
    "train": benchmark(
        "resnet20", *CIFAR,
        *keras_own("resnet20", *CIFAR),
        *on_torchs("ResNet-20", akamasters_resnet20, *CIFAR),
        rounds=31,  # they are short
    ),
    "train_resnet50": benchmark(
        "resnet50", *IMAGENET,
        *keras_own("resnet50", *IMAGENET),
        Contender("keras.applications.ResNet50, TensorFlow's defaults", APPLICATIONS),
        *on_torchs("torchvision resnet50", partial(torchvisions, "resnet50"), *IMAGENET),
    ),
    "train_resnext50": benchmark(  # of Keras' own layers a step takes minutes
        "resnext50_32x4d", *IMAGENET,
        *on_torchs("torchvision resnext50_32x4d", partial(torchvisions, "resnext50_32x4d"), *IMAGENET),
    ),
    "train_stochastic_depth": Benchmark(
        f"{__doc__} ResNet-56, 128 images of 32 x 32, survival falling linearly to 0.5.",
        tuple(
            Contender(f"dropped per {per}", partial(on_keras, partial(stochastic, per), *CIFAR, HALF), ONEDNN)
            for per in ("batch", "sample")
        ),
        rounds=15,
        passes=4,  # the blocks that are dropped differ from step to step
    ),
    "train_resnext29": benchmark("resnext29_32x4d", *CIFAR),
}  # fmt: skip
