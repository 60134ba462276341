"""Batches to train on: CIFAR's from memory, and random crops of JPEG files.

A run is an epoch of that many batches with its own iterator, so that nothing is read ahead while others are timed.
"""

import os
import tempfile
from collections import deque
from dataclasses import replace
from functools import partial
from pathlib import Path
from shutil import rmtree

from benchmarks.harness import Benchmark, Contender
from benchmarks.train import ONEDNN, on_keras, ours

CORES = 2
MEAN, STD = (125.3, 123.0, 113.9), (63.0, 62.1, 66.7)  # CIFAR-10's


def run_of(batches):
    return lambda: deque(batches, maxlen=0)


def as_trained(model, source, recipe, count):
    """The batches that `train` gives to the model."""
    from keras_resnet.training.fitting import batches_to_train, check_fit

    return run_of(batches_to_train(check_fit(model, source, recipe), seed=0, start=0)(0, 1).take(count))


def in_keras(layers, batches, count):
    """Keras' layers on batches (images, one-hot labels), as its guides say: in a parallel `map`."""
    import keras
    import tensorflow as tf

    normalization = keras.layers.Normalization(mean=MEAN, variance=[value**2 for value in STD])
    augment = keras.Sequential([*layers, keras.layers.RandomFlip("horizontal"), normalization])
    batches = batches.repeat().map(lambda x, y: (augment(x, training=True), y), tf.data.AUTOTUNE)
    return run_of(batches.prefetch(tf.data.AUTOTUNE).take(count))


def in_torch(make, transforms, size, count):
    """`DataLoader` on `make(transform)`, a data set, in two processes that stay."""
    import torch
    from torch.utils.data import DataLoader, RandomSampler
    from torchvision.transforms import v2

    normalization = v2.Normalize([value / 255 for value in MEAN], [value / 255 for value in STD])
    transform = v2.Compose(
        [*transforms, v2.RandomHorizontalFlip(), v2.ToDtype(torch.float32, scale=True), normalization]
    )
    dataset = make(transform)
    sampler = RandomSampler(dataset, replacement=True, num_samples=size * count)
    return run_of(DataLoader(dataset, size, sampler=sampler, num_workers=CORES, persistent_workers=True))


# CIFAR: 32 x 32, padded by 4 and cropped, flipped, normalized.

BATCH, BATCHES = 128, 80
TFDS = os.environ.get("KERAS_RESNET_CIFAR10")
IMAGES = "CIFAR-10's training images" if TFDS else "noise of CIFAR-10's shape (KERAS_RESNET_CIFAR10 names no folder)"


def cifar():
    import numpy as np

    from keras_resnet.data import load_data

    if TFDS:
        return load_data("cifar10", data_dir=TFDS)
    noise = np.random.default_rng(0).integers(0, 256, (50_000, 32, 32, 3), dtype="uint8")
    return load_data((noise, np.arange(50_000) % 10))


def cifar_ours():
    import keras_resnet

    return as_trained(keras_resnet.ResNet20(), cifar(), keras_resnet.RECIPES["fast"], BATCHES)


def cifar_keras():
    import keras
    import tensorflow as tf

    train = cifar().train
    examples = tf.data.Dataset.from_tensor_slices((train.images, tf.one_hot(train.labels, 10)))
    batches = examples.shuffle(len(train)).batch(BATCH, drop_remainder=True)
    return in_keras([keras.layers.ZeroPadding2D(4), keras.layers.RandomCrop(32, 32)], batches, BATCHES)


class InMemory:
    """A data set of torch."""

    def __init__(self, examples, transform):
        import torch

        self.images = torch.from_numpy(examples.images).permute(0, 3, 1, 2).contiguous()
        self.labels, self.transform = examples.labels.tolist(), transform

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, number):
        return self.transform(self.images[number]), self.labels[number]


def cifar_torch():
    from torchvision.transforms import v2

    train = cifar().train
    return in_torch(lambda transform: InMemory(train, transform), [v2.RandomCrop(32, padding=4)], BATCH, BATCHES)


def cifar_steps():
    """What takes the batches."""
    step = on_keras(partial(ours, "resnet20"), BATCH, 32)
    return lambda: [step() for _ in range(BATCHES)]


# JPEG: photographs of about 500 x 375, a random crop of each resized to 224 x 224, flipped, normalized.

JPEG_BATCH, JPEG_BATCHES, SIZE, QUALITY, FILES = 64, 8, 224, 90, 256


def photographs() -> Path:
    """Crops of scikit-learn's two photographs, a class each, written once."""
    folder = Path(tempfile.gettempdir()) / f"keras_resnet_photographs_{os.getuid()}"
    if not folder.exists():
        partial = Path(tempfile.mkdtemp(prefix=folder.name))
        write_photographs(partial)
        try:
            partial.rename(folder)
        except OSError:  # another contender was first
            rmtree(partial)
    return folder


def write_photographs(folder: Path) -> None:
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_sample_images

    generator, photographs = np.random.default_rng(0), load_sample_images().images
    for number in range(FILES + len(photographs)):
        label, split = number % len(photographs), "train" if number < FILES else "test"
        height, width = generator.integers((365, 490), (386, 511))
        top, left = generator.integers(0, np.array(photographs[label].shape[:2]) - (height, width) + 1)
        path = folder / split / str(label) / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photographs[label][top : top + height, left : left + width]).save(path, quality=QUALITY)


def jpeg_ours():
    import keras_resnet

    model = keras_resnet.ResNet18(classes=2, input_shape=(SIZE, SIZE, 3))
    recipe = replace(keras_resnet.RECIPES["finetune"], batch_size=JPEG_BATCH)
    return as_trained(model, keras_resnet.load_data(photographs()), recipe, JPEG_BATCHES)


def jpeg_decoding():
    """Every file whole, and nothing else."""
    import tensorflow as tf

    files = tf.data.Dataset.from_tensor_slices(sorted(map(str, photographs().glob("train/*/*"))))
    sizes = files.shuffle(FILES).repeat().map(
        lambda file: tf.shape(tf.io.decode_jpeg(tf.io.read_file(file), 3)), tf.data.AUTOTUNE, deterministic=True
    )  # fmt: skip
    return run_of(sizes.batch(JPEG_BATCH).prefetch(tf.data.AUTOTUNE).take(JPEG_BATCHES))


def jpeg_keras():
    """Keras has no layer for the crop: files are read as 256 x 256, and of these 224 x 224 cropped."""
    import keras

    batches = keras.utils.image_dataset_from_directory(
        photographs() / "train", label_mode="categorical", image_size=(256, 256), crop_to_aspect_ratio=True,
        batch_size=JPEG_BATCH, verbose=False,
    )  # fmt: skip
    return in_keras([keras.layers.RandomCrop(SIZE, SIZE)], batches, JPEG_BATCHES)


def jpeg_torch():
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    transforms = [v2.RandomResizedCrop(SIZE), v2.ToImage()]
    folder = photographs() / "train"
    return in_torch(lambda transform: ImageFolder(folder, transform), transforms, JPEG_BATCH, JPEG_BATCHES)


BENCHMARKS = {
    "pipeline": Benchmark(
        f"{BATCHES} batches of {BATCH} images of 32 x 32, padded by 4 and cropped, flipped, normalized: {IMAGES}.",
        (
            Contender("keras_resnet", cifar_ours, ONEDNN),
            Contender("tf.data, Keras layers", cifar_keras, ONEDNN),
            Contender("torch DataLoader, torchvision v2", cifar_torch),
            Contender("ResNet-20's training steps", cifar_steps, ONEDNN),
        ),
        warmups=1,
        rounds=4,
    ),
    "pipeline_jpeg": Benchmark(
        f"{JPEG_BATCHES} batches of {JPEG_BATCH} random crops resized to {SIZE} x {SIZE}, flipped, normalized, of "
        f"{FILES} JPEG files: not of ImageNet, but cut from scikit-learn's two photographs, about 500 x 375 at quality "
        f"{QUALITY}.",
        (
            Contender("keras_resnet", jpeg_ours, ONEDNN),
            Contender("decoding alone, tf.io.decode_jpeg", jpeg_decoding, ONEDNN),
            Contender("image_dataset_from_directory, Keras layers", jpeg_keras, ONEDNN),
            Contender("torch DataLoader, torchvision v2", jpeg_torch),
        ),
    ),
}
