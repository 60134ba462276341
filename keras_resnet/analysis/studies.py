"""What a network does, as the papers show it: arrays, of which `figures` makes figures."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import combinations
from math import comb
from pathlib import Path
from typing import Any, NamedTuple, TypedDict, Unpack

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from keras_resnet.analysis.drawing import Box, drawing
from keras_resnet.analysis.gates import Block, blocks, gated, gates, logits, opened
from keras_resnet.checks import (
    COUNT,
    Rule,
    at_least,
    expect,
    expect_known,
    expect_rule,
    invalid,
    is_integer,
    is_list_of,
    one_of,
)
from keras_resnet.data import (
    evaluation_batches,
    evaluation_view,
    evenly,
    expect_one_size,
    load_data,
    raw_images,
    read_image,
)
from keras_resnet.graph.stages import features
from keras_resnet.graph.tracing import recorded, walk
from keras_resnet.modelcard import Preprocessing, card
from keras_resnet.predict import ends_in_logits, preprocessing_row
from keras_resnet.predict import preprocessing as preprocessing_of
from keras_resnet.training import source_for

__all__ = [
    "Box",
    "Cam",
    "Gradients",
    "Lesion",
    "Paths",
    "Responses",
    "block_gradients",
    "drawing",
    "example",
    "feature_maps",
    "grad_cam",
    "layer_responses",
    "lesion",
    "path_gradients",
    "sample",
]

Batch = tuple[tf.Tensor, tf.Tensor]
TINY = 1e-12  # keeps a heatmap of zeros one of zeros


class Reading(TypedDict, total=False):
    """Which images a network is looked at with: the arguments of `sample`."""

    split: str
    images: int
    preprocessing: Preprocessing | str | None
    batch_size: int


def sample(model: keras.Model, data: Any, *, split: str = "test", images: int = 1000,
           preprocessing: Preprocessing | str | None = None, batch_size: int = 100) -> list[Batch]:  # fmt: skip
    """Labelled images as the network reads them.

    Args:
        model: A classifier.
        data: As `keras_resnet.load_data` takes it; with as many classes as the model has outputs.
        split: "test", "validation" or "train".
        images: How many, evenly spaced over the split; all where it has fewer.
        preprocessing: Where the model's card does not say how it reads images: see `keras_resnet.preprocessing`.
        batch_size: Images at a time, which decides the memory that is needed, not the result.

    Returns:
        Batches (float32 [n, H, W, C], one-hot [n, classes]).

    Raises:
        ValueError: Where an argument is not what it may be, or the data are not the model's.
    """
    expect(isinstance(model, keras.Model), "model", "a Keras model", model)
    for argument, count in (("images", images), ("batch_size", batch_size)):
        expect_rule(COUNT, argument, count)
    source, row = source_for(model, data, split), preprocessing_row(model, preprocessing)
    examples = getattr(source, split)
    chosen = examples[evenly(images, len(examples))]
    expect_one_size(chosen, row)
    view = evaluation_view(chosen, row, source.shape[-1])
    return [(row(pixels), labels) for pixels, labels in
            evaluation_batches(chosen, source.classes, batch_size, view=view)]  # fmt: skip


def example(data: Any, number: int, split: str = "test") -> np.ndarray:
    """The image of that number in a split, float32 [H, W, C] of 0 to 255, as `grad_cam` and `feature_maps` take it.

    >>> import keras_resnet
    >>> keras_resnet.analysis.example("digits", 3).shape
    (8, 8, 1)
    """
    source = load_data(data)
    expect_rule(one_of(*source.splits), "split", split)
    examples = source.splits[split]
    expect(is_integer(number) and 0 <= number < len(examples), "number", f"0 to {len(examples) - 1}", number)
    as_it_is = Preprocessing((0.0,), (1.0,))
    return raw_images(examples[np.array([number])], as_it_is, source.shape[-1])[0].astype("float32")


def compiled(function: Callable, model: keras.Model, parts: Sequence[Block] | None = None) -> Callable:
    """`function` of images, or of images, labels and the blocks' gates: traced once, whatever the number of images."""
    images, labels = tf.TensorSpec((None, *model.input_shape[1:])), tf.TensorSpec((None, model.output_shape[-1]))
    signature = [images] if parts is None else [images, labels, tf.TensorSpec((len(parts), 2, 2))]
    return tf.function(function, signature, autograph=False)


def lines(*columns: Iterable[Any]) -> str:
    """A result as text."""
    rows = [[cell if isinstance(cell, str) else f"{cell:.4g}" for cell in row] for row in zip(*columns, strict=True)]
    wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.rjust, row, wide)) for row in rows)


class Responses(NamedTuple):
    names: tuple[str, ...]  # of the convolutions, in the network's order
    stds: np.ndarray  # float64 [convolutions]

    def __str__(self) -> str:
        return lines(self.names, self.stds)


def layer_responses(model: keras.Model, data: Any, **reading: Unpack[Reading]) -> Responses:
    """Standard deviations of the layers' responses: He et al. 2015, figure 7.

    A response is the output of a convolution wider than 1x1, behind its batch norm where it has one and before relu and
    sum; its deviation is taken over images, pixels and channels. Batch norm uses its moving statistics.

    Args:
        model: A network of this package, also a loaded or nested one.
        data: As `keras_resnet.load_data` takes it.
        reading: As in `sample`: split, images, preprocessing, batch_size.

    Returns:
        Names and deviations, in the network's order.

    Raises:
        ValueError: Where the model has no such convolution, or an argument is not what it may be.
    """
    batches, heard = sample(model, data, **reading), responding(model)

    def moments(images):
        with recorded(heard.values()) as found:
            model(images, training=False)
        outputs = [tf.cast(found[layer][1], tf.float32) for layer in heard.values()]
        return tf.stack([tf.stack(tf.nn.moments(output, [0, 1, 2, 3])) for output in outputs])

    moments_of = compiled(moments, model)
    count = [len(images) for images, _ in batches]
    found = np.array([moments_of(images) for images, _ in batches], "float64")
    mean, variance = found[..., 0], found[..., 1]
    square = np.average(variance + mean**2, 0, count)
    return Responses(tuple(heard), np.sqrt(square - np.average(mean, 0, count) ** 2))


def responding(model: keras.Model) -> dict[str, layers.Layer]:
    """A convolution's name -> its norm, or itself where it has none of its own."""
    leaves = {layer.name: layer for layer in walk(model)}
    found = {name: leaves.get(f"{name.removesuffix('_conv')}_norm", layer) for name, layer in leaves.items()
             if isinstance(layer, layers.Conv2D) and max(layer.kernel_size) > 1}  # fmt: skip
    expect(found, "model", "one with convolutions wider than 1x1", model.name)
    return found


class Gradients(NamedTuple):
    names: tuple[str, ...]  # of the blocks
    norms: np.ndarray  # float64 [blocks]
    branches_alone: np.ndarray  # the same without what the shortcuts carry

    def __str__(self) -> str:
        return lines(self.names, self.norms, self.branches_alone)


def block_gradients(model: keras.Model, data: Any, **reading: Unpack[Reading]) -> Gradients:
    """Norms of the loss's gradient with respect to each block's input, with and without shortcuts.

    The loss is an image's cross-entropy, the norm is the L2 norm of an image's gradient, and the mean is taken over the
    images. Without shortcuts means: the activations are the network's own, and the gradient flows back through the
    branches alone, which is Veit et al.'s longest path. What training without shortcuts makes of a network, its
    plain twin shows. Batch norm uses its moving statistics.

    Args:
        model: A residual, plain or dense network of this package, also a loaded or nested one.
        data: As `keras_resnet.load_data` takes it.
        reading: As in `sample`: split, images, preprocessing, batch_size.

    Returns:
        Names and norms, in the network's order; of a plain network both norms are the same.

    Raises:
        ValueError: Where the network has no blocks, or an argument is not what it may be.
    """
    batches, parts = sample(model, data, **reading), blocks(model)
    norms, open_, alone = gradient_norms(model, parts), opened(parts), np.tile([0.0, 1.0], (len(parts), 1))
    found = [mean_over(batches, partial(norms, gates=gates(open_, back)))[1:] for back in (open_, alone)]
    return Gradients(tuple(part.name for part in parts), *found)


def gradient_norms(model: keras.Model, parts: Sequence[Block]) -> Callable:
    """(images, labels, gates) -> [1 + blocks, N]: the norms at the images, and at what each block reads."""

    def norms(images, labels, gates):
        with tf.GradientTape() as tape, gated(parts, gates) as entered, logits(model):
            tape.watch(images)
            outputs = tf.cast(model(images, training=False), tf.float32)
            loss = tf.nn.softmax_cross_entropy_with_logits(labels, outputs)
        at = [images, *(entered[part.first][0] for part in parts)]
        found = tape.gradient(loss, at, unconnected_gradients="zero")
        return tf.stack([tf.norm(tf.reshape(tf.cast(x, tf.float32), (tf.shape(x)[0], -1)), axis=1) for x in found])

    return compiled(norms, model, parts)


def mean_over(batches: Sequence[Batch], function: Callable) -> np.ndarray:
    """Of what it gives for each image, [..., N]."""
    return np.concatenate([function(*batch).numpy().astype("float64") for batch in batches], -1).mean(-1)


class Paths(NamedTuple):
    lengths: np.ndarray  # int [blocks + 1]: how many branches a path goes through
    shares: np.ndarray  # float64 [blocks + 1]: of all paths
    norms: np.ndarray  # float64 [blocks + 1]: of the gradient that one path of the length carries to the image

    @property
    def contributions(self) -> np.ndarray:
        """Shares times norms, made to sum to 1: Veit et al.'s figure 6c."""
        product = self.shares * self.norms
        return product / product.sum()

    def __str__(self) -> str:
        return lines(self.lengths, self.shares, self.norms, self.contributions)


def path_gradients(model: keras.Model, data: Any, *, repeats: int = 20, seed: int = 0,
                   **reading: Unpack[Reading]) -> Paths:  # fmt: skip
    """The distribution of path lengths and the gradient by path length: Veit et al. 2016, figure 6.

    A path goes through the branch of some blocks, as many as it is long, and through the shortcut of the others (a
    multi-residual block's branches count as one). The activations are the whole network's own; the gradient of an
    image's cross-entropy flows back through that path alone. Its L2 norm at the image, as the network reads it, is
    averaged over images and paths. Batch norm uses its moving statistics.

    Args:
        model: A residual or dense network of this package, also a loaded or nested one.
        data: As `keras_resnet.load_data` takes it.
        repeats: Paths drawn of each length; all of them where there are no more.
        seed: Of the draws.
        reading: As in `sample`: split, images, preprocessing, batch_size.

    Returns:
        Lengths, shares of all paths (binomial: n over length, divided by 2^n) and mean norms.

    Raises:
        ValueError: Where the network has no shortcuts, and so a single path, or an argument is not what it may be.
    """
    expect_draws(repeats, seed)
    parts = blocks(model)
    expect(all(part.sums for part in parts), "model", "a network with shortcuts: a plain one has one path", model.name)
    batches, norms, total = sample(model, data, **reading), gradient_norms(model, parts), len(parts)

    def norm(chosen):
        return mean_over(batches, partial(norms, gates=gates(opened(parts), through(total, chosen))))[0]

    lengths = np.arange(total + 1)
    found = [np.mean([norm(path) for path in draws(range(total), size, repeats, seed)]) for size in lengths.tolist()]
    return Paths(lengths, np.array([comb(total, size) / 2**total for size in lengths.tolist()]), np.array(found))


def through(total: int, chosen: Sequence[int]) -> np.ndarray:
    """[blocks, 2]: the branches of the chosen blocks, and the shortcuts of the others."""
    branch = np.isin(np.arange(total), chosen)
    return np.stack([~branch, branch], -1).astype("float32")


def draws(among: Sequence[int], size: int, repeats: int, seed: int) -> list[Sequence[int]]:
    """Subsets of the size: all of them, or that many."""
    if comb(len(among), size) <= repeats:
        return list(combinations(among, size))
    random = np.random.default_rng((seed, size))
    return [random.choice(among, size, replace=False).tolist() for _ in range(repeats)]


def expect_draws(repeats: int, seed: int) -> None:
    expect_rule(COUNT, "repeats", repeats)
    expect_rule(at_least(0), "seed", seed)


class Lesion(NamedTuple):
    baseline: float  # error of the whole network; errors are fractions of the images
    names: tuple[str, ...]  # of the blocks
    errors: np.ndarray  # float64 [blocks]: without that block; NaN where it cannot be deleted
    counts: tuple[int, ...]
    several: tuple[np.ndarray, ...]  # for each count, the errors [draws] without so many random blocks

    def __str__(self) -> str:
        means, low, high = zip(*((found.mean(), found.min(), found.max()) for found in self.several), strict=True)
        return "\n".join([
            f"error of the whole network {self.baseline:.4f}; without one block:", lines(self.names, self.errors),
            "without so many random blocks, mean, least and greatest:", lines(self.counts, means, low, high)
        ])  # fmt: skip


def lesion(model: keras.Model, data: Any, *, counts: Sequence[int] | None = None, repeats: int = 5, seed: int = 0,
           **reading: Unpack[Reading]) -> Lesion:  # fmt: skip
    """Errors of a network without one of its blocks, and without several: Veit et al. 2016, figures 3 and 5a.

    Of a deleted block the shortcut remains, also the projection of one that changes the shape; of a dense block's
    layer, zeros. A plain block is skipped, as Veit et al. do in VGG: its input is its output. One that changes the
    shape has no such thing, cannot be deleted, and has the error NaN. The rest is as it was trained.

    Args:
        model: A residual, plain or dense network of this package, also a loaded or nested one.
        data: As `keras_resnet.load_data` takes it.
        counts: How many random blocks to delete; up to ten numbers from 1 to all where not given.
        repeats: Draws of each count; all subsets where there are no more.
        seed: Of the draws.
        reading: As in `sample`: split, images, preprocessing, batch_size.

    Returns:
        The whole network's error, each block's, and those of the draws.

    Raises:
        ValueError: Where the network has no blocks that can be deleted, or an argument is not what it may be.
    """
    expect_draws(repeats, seed)
    parts = blocks(model)
    among = [index for index, part in enumerate(parts) if part.sums or not part.changes_shape]
    expect(among, "model", "a network with a block that keeps the shape, or with shortcuts", model.name)
    few = np.unique(np.linspace(1, len(among), min(len(among), 10)).astype(int)).tolist()
    sizes = few if counts is None else counts
    wanted = Rule(is_list_of(lambda size: is_integer(size) and 1 <= size <= len(among)),
                  f"a list of numbers from 1 to the {len(among)} blocks that can be deleted")  # fmt: skip
    expect_rule(wanted, "counts", sizes)
    batches, wrong = sample(model, data, **reading), misnamed(model, parts)

    def error(chosen):
        left = opened(parts)
        left[list(chosen)] = 1, 0
        return float(mean_over(batches, partial(wrong, gates=gates(left, left))))

    singles = np.array([error([index]) if index in among else np.nan for index in range(len(parts))])
    several = tuple(np.array([error(chosen) for chosen in draws(among, size, repeats, seed)]) for size in sizes)
    return Lesion(error([]), tuple(part.name for part in parts), singles, tuple(sizes), several)


def misnamed(model: keras.Model, parts: Sequence[Block]) -> Callable:
    """(images, labels, gates) -> [N]: 1 where the image is not named rightly."""

    def wrong(images, labels, gates):
        with gated(parts, gates):
            outputs = model(images, training=False)
        return tf.cast(tf.argmax(outputs, 1) != tf.argmax(labels, 1), tf.float32)

    return compiled(wrong, model, parts)


class Cam(NamedTuple):
    image: np.ndarray  # uint8 [H, W, C], as the network sees it
    heatmap: np.ndarray  # float32 [H, W], 0 to 1: `map` at the image's size
    map: np.ndarray  # float32 [h, w], 0 and more
    class_index: int
    layer: str

    def __str__(self) -> str:
        return f"{self.layer}, {'x'.join(map(str, self.map.shape))}"


def grad_cam(model: keras.Model, image: Any, target: int | str | None = None, *, layer: str | None = None,
             preprocessing: Preprocessing | str | None = None) -> Cam:  # fmt: skip
    """Where in an image a network sees a class: Grad-CAM, Selvaraju et al. 2017, equations 1 and 2.

    relu(sum_k a_k A_k), where A_k are the maps of a layer and a_k the mean over the pixels of the gradient of the
    class's logit (before any softmax).

    Args:
        model: Any Keras classifier, also with a backbone nested inside.
        image: The path of a JPEG, PNG, GIF or BMP, or an array [H, W, C] of 0 to 255.
        target: The class, by its number, or by its name where the model's card has names; by default the likeliest.
        layer: The name of the layer whose maps are taken, however deep; by default the last that gives maps, which
            is what the head pools.
        preprocessing: Where the model's card does not say how it reads images: see `keras_resnet.preprocessing`.

    Returns:
        The image as the network sees it, the heatmap at its size and at the layer's, the class and the layer.

    Raises:
        ValueError: Where an argument is not what it may be.
    """
    seen, x = prepared(model, image, preprocessing)
    ends_in_logits(model)  # raises where it is no classifier
    leaves = list(walk(model))
    names = [leaf.name for leaf in leaves]
    expect(layer is None or names.count(layer) == 1, "layer", "None, or the name of one layer of the model", layer)
    chosen = class_number(model, target)
    with tf.GradientTape() as tape, recorded(leaves) as found, logits(model):
        tape.watch(x)
        scores = model(x, training=False)[0]
        chosen = int(tf.argmax(scores)) if chosen is None else chosen
        score = scores[chosen]
    maps = {leaf.name: y for leaf, (_, y) in found.items() if is_map(y)}
    expect(maps and (layer is None or layer in maps), "layer", f"one that gives maps, such as {list(maps)[-3:]}", layer)
    at = layer or list(maps)[-1]
    gradient = tape.gradient(score, maps[at], unconnected_gradients="zero")
    weights = tf.reduce_mean(gradient, (1, 2), keepdims=True)
    heat = tf.cast(tf.nn.relu(tf.reduce_sum(maps[at] * weights, -1))[0], tf.float32)
    whole = tf.image.resize(heat[..., None], seen.shape[:2])[..., 0].numpy()
    return Cam(seen, whole / max(whole.max(), TINY), heat.numpy(), chosen, at)


def is_map(y: Any) -> bool:
    shape = tuple(getattr(y, "shape", ()))
    return len(shape) == 4 and shape[1] * shape[2] > 1


def class_number(model: keras.Model, target: int | str | None) -> int | None:
    classes, names = model.output_shape[-1], getattr(card(model), "class_names", None)
    if isinstance(target, str):
        if not isinstance(names, tuple):
            raise invalid("target", "a number: the model's card names no classes", target)
        expect_known("target", names, target)
        return names.index(target)
    expect(target is None or (is_integer(target) and 0 <= target < classes), "target",
           f"None, a class's name, or its number, 0 to {classes - 1}", target)  # fmt: skip
    return target


def prepared(model: keras.Model, image: Any, preprocessing: Preprocessing | str | None) -> tuple[np.ndarray, tf.Tensor]:
    """The image as the network sees it, uint8 [H, W, C], and the batch of one that it reads."""
    expect(isinstance(model, keras.Model), "model", "a Keras model", model)
    row, read = preprocessing_row(model, preprocessing), preprocessing_of(model, preprocessing)
    channels = model.input_shape[-1]
    pixels = read_image(Path(image), channels) if isinstance(image, str | Path) else np.asarray(image)
    expect(pixels.ndim == 3 and pixels.shape[-1] == channels and pixels.size, "image",
           f"a path, or an array [H, W, {channels}] of 0 to 255", pixels.shape)  # fmt: skip
    x = tf.convert_to_tensor(read(pixels[None].astype("float32")))
    return np.clip(np.round(x[0] * row.std + row.mean), 0, 255).astype("uint8"), x


def feature_maps(model: keras.Model, image: Any, stage: int,
                 *, preprocessing: Preprocessing | str | None = None) -> np.ndarray:  # fmt: skip
    """What a stage makes of an image: its output, as `keras_resnet.features` gives it.

    Args:
        model: A network of this package, also a loaded one, or one with other layers behind it.
        image: The path of a JPEG, PNG, GIF or BMP, or an array [H, W, C] of 0 to 255.
        stage: Counted from 1.
        preprocessing: Where the model's card does not say how it reads images: see `keras_resnet.preprocessing`.

    Returns:
        float32 [H, W, C], a map for every channel.

    Raises:
        ValueError: Where the network has no such stage, or an argument is not what it may be.
    """
    _, x = prepared(model, image, preprocessing)
    found = keras.tree.flatten(features(model, (stage,))(x, training=False))
    return keras.ops.convert_to_numpy(found[0][0]).astype("float32")
