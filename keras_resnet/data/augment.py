"""Augmentation: operations on whole batches, random crops while reading, and the views of an evaluation.

Every draw is a function of (seed, step, position), and nothing has a state: a run resumes where it stopped, batches may
be made in parallel, and several workers together make the batches of one (but for the partners of mixup and CutMix).
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from inspect import signature
from math import log, pi
from typing import Any, NamedTuple

import tensorflow as tf

from keras_resnet.checks import (
    COUNT,
    POSITIVE,
    Rule,
    at_least,
    expect,
    expect_known,
    expect_rule,
    is_list_of,
    is_number,
    one_of,
)

Augmentation = Callable[..., tuple[tf.Tensor, tf.Tensor]]
Box = tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]  # top, left, height, width

TRIES = 10  # boxes drawn before giving up: torchvision's RandomErasing and RandomResizedCrop


class Draws:
    """Random numbers for a batch, a function of (seed, step, how many were drawn before) alone.

    Args:
        seed: Of the run.
        step: Number of the batch in the run, an integer or a tensor.
        size: Examples in the batch of all workers together.
        rows: Which of them are this worker's: it gets those rows of what one worker would draw.

    >>> both = Draws(seed=0, step=7, size=4).uniform()
    >>> second = Draws(seed=0, step=7, size=4, rows=slice(2, 4)).uniform()
    >>> bool(tf.reduce_all(both[2:] == second))
    True
    """

    def __init__(self, seed: int, step: Any, size: int, rows: slice = slice(None)):
        pair = tf.stack([tf.cast(seed, tf.int64), tf.cast(step, tf.int64)])
        self.key = tf.random.stateless_uniform((), pair, None, None, tf.int64)  # in 32 bits, steps would share a key
        self.size, self.rows, self.drawn = size, rows, 0

    def _next(self) -> tf.Tensor:
        """The seed of the next draw."""
        self.drawn += 1
        return tf.stack([self.key, self.drawn])

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0, dtype: Any = tf.float32) -> tf.Tensor:
        """Numbers in [low, high), [rows, *shape]."""
        return tf.random.stateless_uniform((self.size, *shape), self._next(), low, high, dtype)[self.rows]

    def normal(self, *shape: int, stddev: float = 1.0) -> tf.Tensor:
        """Numbers around 0, [rows, *shape]."""
        return tf.random.stateless_normal((self.size, *shape), self._next(), stddev=stddev)[self.rows]

    def chosen(self, rate: float) -> tf.Tensor:
        """True for a share of the rows, [rows]."""
        return self.uniform() < rate

    def beta(self, alpha: float) -> tf.Tensor:
        """Numbers of Beta(alpha, alpha), [rows]: X / (X + Y) for X and Y of Gamma(alpha)."""
        return tf.sigmoid(self._log_gamma(alpha) - self._log_gamma(alpha))[self.rows]

    def _log_gamma(self, alpha: float) -> tf.Tensor:
        """log of Gamma(alpha) = Gamma(alpha + 1) U^(1 / alpha), which for small alpha is below the least float."""
        gamma = tf.random.stateless_gamma((self.size,), self._next(), alpha + 1.0)
        uniform = tf.random.stateless_uniform((self.size,), self._next())
        return tf.math.log(gamma) + tf.math.log1p(-uniform) / alpha


# The augmentations: f(images, labels, draws, **parameters) -> (images, labels), for images float32 [n, h, w, c] of 0 to
# 255 and labels float32 [n, classes].


def pad_crop(images, labels, draws, padding=4, fill=0, mode="constant"):
    """Each image moved by up to `padding` pixels down or up, right or left, `fill` behind it: He et al. 2015, 4.2.

    Or behind it its own reflection, where the mode is "reflect": Zagoruyko and Komodakis 2016, 3.
    """
    height, width = images.shape[1:3]
    fill = per_channel(fill, images)
    padded = tf.pad(images - fill, ((0, 0), (padding, padding), (padding, padding), (0, 0)), mode.upper()) + fill
    starts = draws.uniform(2, low=0, high=2 * padding + 1, dtype=tf.int32)
    rows = tf.gather(padded, starts[:, :1] + tf.range(height), axis=1, batch_dims=1)
    # What moves alike is one slice; a gather of columns would copy pixel by pixel.
    alike = tf.dynamic_partition(tf.range(tf.shape(images)[0]), starts[:, 1], 2 * padding + 1)
    cropped = [tf.gather(rows, which)[:, :, left : left + width] for left, which in enumerate(alike)]
    return tf.ensure_shape(tf.dynamic_stitch(alike, cropped), images.shape), labels


def flip(images, labels, draws, rate=0.5):
    """A share of the images mirrored, left to right: Krizhevsky et al. 2012, 4.1."""
    rows = tf.reshape(images, (-1, *images.shape[2:]))  # in three dimensions TensorFlow reverses by whole pixels
    mirrored = tf.reshape(tf.reverse(rows, [1]), tf.shape(images))
    return tf.raw_ops.Select(condition=draws.chosen(rate), x=mirrored, y=images), labels  # copies whole images


def rotate(images, labels, draws, degrees=10, rate=1.0, interpolation="nearest", fill=0):
    """A share of the images turned about their middle by up to `degrees` either way (torchvision's RandomRotation)."""
    angle = tf.cast(draws.chosen(rate), tf.float32) * draws.uniform(low=-degrees, high=degrees)
    return warp(images, *rotation(angle, images), interpolation=interpolation, fill=fill), labels


def translate(images, labels, draws, share=0.1, rate=1.0, interpolation="nearest", fill=0):
    """A share of the images moved by up to that `share` of their height and of their width, either way.

    By whole pixels, as torchvision's RandomAffine, where the interpolation is "nearest".
    """
    height, width = images.shape[1:3]
    moves = tf.cast(draws.chosen(rate), tf.float32)[:, None] * draws.uniform(2, low=-share, high=share)
    moved = warp(
        images, 1, 0, -width * moves[:, 1], 0, 1, -height * moves[:, 0], interpolation=interpolation, fill=fill
    )
    return moved, labels


def erase(images, labels, draws, rate=0.5, scale=(0.02, 0.33), ratio=(0.3, 3.3), fill=0):
    """Random erasing: a rectangle filled, of a share of the area and a height over width drawn (Zhong et al. 2017).

    As torchvision's RandomErasing: of ten rectangles the first that is smaller than the image, or none. Its zeros,
    filled after normalization, are the mean colour before.
    """
    height, width = images.shape[1:3]
    tall, wide = sides(draws.uniform(TRIES, 2), float(height * width), scale, ratio)
    fits = (tall < height) & (wide < width)
    tall, wide = first(fits, tall), first(fits, wide)
    corner = draws.uniform(2)
    top, left = tf.floor(corner[:, 0] * (height - tall + 1)), tf.floor(corner[:, 1] * (width - wide + 1))
    erased = per_image(draws.chosen(rate) & tf.reduce_any(fits, 1)) & inside(top, left, tall, wide, images)
    return tf.where(erased, per_channel(fill, images), images), labels


def cutout(images, labels, draws, size=16, rate=1.0, fill=0):
    """A square filled, its middle drawn over the image, cut off at the border: DeVries and Taylor 2017, 3.2."""
    cut = per_image(draws.chosen(rate)) & window(float(size), float(size), images, draws)
    return tf.where(cut, per_channel(fill, images), images), labels


# Of the covariance of ImageNet's colours, 0 to 1; vectors in columns: facebookarchive/fb.resnet.torch, imagenet.lua.
EIGENVALUES = (0.2175, 0.0188, 0.0045)
EIGENVECTORS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))


def color(images, labels, draws, stddev=0.1):
    """[p1, p2, p3][a1 l1, a2 l2, a3 l3] added to every pixel, p and l of ImageNet: Krizhevsky et al. 2012, 4.1.

    The sum is not clipped to 0...255, and is for RGB only.
    """
    expect(images.shape[-1] == 3, "images", "RGB for the augmentation 'color'", tuple(images.shape))
    shift = tf.matmul(draws.normal(3, stddev=stddev) * EIGENVALUES, EIGENVECTORS, transpose_b=True) * 255
    return images + shift[:, None, None, :], labels


def mixup(images, labels, draws, alpha=0.2, rate=1.0):
    """w x + (1 - w) x', w of Beta(alpha, alpha), of images and of labels: Zhang et al. 2017.

    Every image has a weight of its own (the authors' code draws one a batch); partners are within the worker's rows.
    """
    weight = tf.where(draws.chosen(rate), draws.beta(alpha), 1.0)
    partner = tf.argsort(draws.uniform())
    return mixed(images, partner, weight), mixed(labels, partner, weight)


def cutmix(images, labels, draws, alpha=1.0, rate=1.0):
    """A window of another image, labels by the areas: Yun et al. 2019, algorithm A1.

    Of the area 1 - w, w of Beta(alpha, alpha), before it is cut off at the border. Every image has a window of its own
    (the authors' code draws one a batch); partners are within the worker's rows.
    """
    height, width = images.shape[1:3]
    half = tf.sqrt(1 - draws.beta(alpha)) / 2
    box = window(2 * tf.floor(half * height), 2 * tf.floor(half * width), images, draws)
    box &= per_image(draws.chosen(rate))
    partner = tf.argsort(draws.uniform())
    kept = 1 - tf.reduce_mean(tf.cast(box, tf.float32), (1, 2, 3))
    return tf.where(box, tf.gather(images, partner), images), mixed(labels, partner, kept)


def rand_augment(images, labels, draws, magnitude=9, num_ops=2, interpolation="nearest", fill=0):
    """One of OPERATIONS drawn for each image, `num_ops` times: Cubuk et al. 2019, with torchvision's 31 magnitudes."""
    images = tf.clip_by_value(images, 0.0, 255.0)
    for _ in range(num_ops):
        choice, positive = draws.uniform(low=0, high=len(OPERATIONS), dtype=tf.int32), draws.chosen(0.5)
        images = operated(
            images, choice, positive, magnitude / 30, partial(warp, interpolation=interpolation, fill=fill)
        )
    return images, labels


AUGMENTATIONS: dict[str, Augmentation] = {
    "pad_crop": pad_crop,
    "flip": flip,
    "rotate": rotate,
    "translate": translate,
    "erase": erase,
    "cutout": cutout,
    "color": color,
    "mixup": mixup,
    "cutmix": cutmix,
    "rand_augment": rand_augment,
}

_SHARE = Rule(lambda value: is_number(value) and 0 <= value <= 1, "a number in [0, 1]")
_RULES: dict[str, Rule] = {  # of the augmentations' parameters, the same for all
    "alpha": POSITIVE,
    "degrees": Rule(lambda value: is_number(value) and 0 <= value <= 180, "a number in [0, 180]"),
    "fill": Rule(lambda value: is_number(value) or is_list_of(is_number)(value), "a number, or one for every channel"),
    "interpolation": one_of("nearest", "bilinear"),
    "mode": one_of("constant", "reflect"),
    "magnitude": Rule(lambda value: is_number(value) and 0 <= value <= 30, "a number in [0, 30]"),
    "num_ops": COUNT,
    "padding": at_least(0),
    "rate": _SHARE,
    "ratio": Rule(lambda value: _rises(value) and value[0] > 0, "the least and the greatest height over width"),
    "scale": Rule(lambda value: _rises(value) and value[0] >= 0 and value[1] <= 1, "two rising numbers in [0, 1]"),
    "share": _SHARE,
    "size": COUNT,
    "stddev": Rule(lambda value: is_number(value) and value >= 0, "a number, at least 0"),
}


def _rises(value: Any) -> bool:
    return is_list_of(is_number)(value) and len(value) == 2 and value[0] <= value[1]


@tf.autograph.experimental.do_not_convert  # there is nothing to convert, and to look for it takes seconds
def augment(images, labels, draws: Draws, steps: Mapping[str, Any]) -> tuple[tf.Tensor, tf.Tensor]:
    """The augmentations by name, in that order.

    Args:
        images: float32 [n, h, w, c], RGB or one channel, 0 to 255.
        labels: float32 [n, classes], one-hot: mixup and CutMix mix them.
        draws: Of this batch; with n rows.
        steps: For a key of AUGMENTATIONS its parameters, or its first alone.

    Returns:
        Both, of the same shapes.

    >>> images, labels = tf.zeros((4, 32, 32, 3)), tf.eye(4)
    >>> images, labels = augment(images, labels, Draws(seed=0, step=0, size=4), {"pad_crop": 4, "flip": {"rate": 0.5}})
    >>> images.shape
    TensorShape([4, 32, 32, 3])
    """
    for name, value in steps.items():
        images, labels = AUGMENTATIONS[name](images, labels, draws, **_parameters(name, value))
    return images, labels


def _names(name: str) -> list[str]:
    """Of an augmentation's parameters."""
    return list(signature(AUGMENTATIONS[name]).parameters)[3:]


def _parameters(name: str, value: Any) -> dict[str, Any]:
    """Parameters by name; what is no mapping is the first."""
    return dict(value) if isinstance(value, Mapping) else {_names(name)[0]: value}


def expect_augmentations(argument: str, steps: Any) -> None:
    """Raises unless these are `steps` for `augment`: known names, known parameters, values in their ranges."""
    expect(isinstance(steps, Mapping), argument, "a mapping from augmentations to their parameters", steps)
    for name, value in steps.items():
        expect_known(argument, AUGMENTATIONS, name)
        for parameter, received in _parameters(name, value).items():
            expect_known(f"{argument}.{name}", _names(name), parameter)
            expect_rule(_RULES[parameter], f"{argument}.{name}.{parameter}", received)


# What the augmentations are made of.


def per_image(values):
    """[n] as [n, 1, 1, 1]."""
    return tf.reshape(values, (-1, 1, 1, 1))


def per_channel(fill, images):
    """A number, or one for every channel, as [c]."""
    return tf.broadcast_to(tf.cast(fill, tf.float32), images.shape[-1:])


def mixed(values, partner, weight):
    """weight values + (1 - weight) their partners."""
    weight = tf.reshape(weight, (-1, *[1] * (len(values.shape) - 1)))
    return weight * values + (1 - weight) * tf.gather(values, partner)


def inside(top, left, height, width, images):
    """Whether a pixel is in its image's rectangle, [n, h, w, 1]."""
    rows, columns = (tf.range(size, dtype=tf.float32) for size in images.shape[1:3])
    in_rows = (top[:, None] <= rows) & (rows < (top + height)[:, None])
    in_columns = (left[:, None] <= columns) & (columns < (left + width)[:, None])
    return in_rows[:, :, None, None] & in_columns[:, None, :, None]


def window(height, width, images, draws):
    """`inside` a rectangle around a pixel that is drawn over the whole image."""
    middle = [tf.cast(draws.uniform(low=0, high=size, dtype=tf.int32), tf.float32) for size in images.shape[1:3]]
    return inside(middle[0] - height // 2, middle[1] - width // 2, height, width, images)


def sides(drawn, area, scale, ratio):
    """Two sides of a share of the `area`: uniform in `scale`, the first over the second log-uniform in `ratio`."""
    part = area * (scale[0] + (scale[1] - scale[0]) * drawn[..., 0])
    over = tf.exp(log(ratio[0]) + (log(ratio[1]) - log(ratio[0])) * drawn[..., 1])
    return tf.round(tf.sqrt(part * over)), tf.round(tf.sqrt(part / over))


def first(fits, values):
    """The first of each row's values that fits."""
    index = tf.argmax(tf.cast(fits, tf.int32), axis=-1)
    return tf.gather(values, index, axis=-1, batch_dims=fits.shape.rank - 1)


def warp(images, a, b, c, d, e, f, interpolation="nearest", fill=0):
    """To pixel (x, y) what was at (ax + by + c, dx + ey + f), a number or one an image; `fill` from outside."""
    numbers = [tf.broadcast_to(tf.cast(value, tf.float32), tf.shape(images)[:1]) for value in (a, b, c, d, e, f, 0, 0)]
    fill = per_channel(fill, images)
    warped = tf.raw_ops.ImageProjectiveTransformV3(
        images=images - fill,  # the operation fills all channels with one number
        transforms=tf.stack(numbers, axis=1),
        output_shape=images.shape[1:3],
        fill_value=0.0,
        interpolation=interpolation.upper(),
        fill_mode="CONSTANT",
    )
    return warped + fill


def rotation(degrees, images):
    """The six numbers of `warp` that turn images about their middle, counterclockwise."""
    middle_y, middle_x = ((size - 1) / 2 for size in images.shape[1:3])
    cos, sin = tf.cos(degrees * tf.constant(pi / 180)), tf.sin(degrees * tf.constant(pi / 180))
    return (
        cos, -sin, middle_x - cos * middle_x + sin * middle_y,
        sin, cos, middle_y - sin * middle_x - cos * middle_y,
    )  # fmt: skip


# RandAugment's operations.


class Operation(NamedTuple):
    """One of RandAugment's."""

    apply: Callable[..., tf.Tensor]  # (images, strength [n], warp) -> images
    strength: Callable[[float, int, int], float]  # (share of the greatest, height, width) -> strength
    signed: bool  # whether half of the images take the strength negative


def warped(numbers):
    """The operation that warps by the six numbers of a strength."""
    return lambda images, strength, warp: warp(images, *numbers(strength))


def turned(images, strength, warp):
    """Rotated by that many degrees."""
    return warp(images, *rotation(strength, images))


def enhanced(degenerate):
    """The operation that moves images away from their degenerate ones: PIL's ImageEnhance."""
    return lambda images, strength, warp: blend(degenerate(images), images, strength)


def pointwise(function):
    """The operation that needs no `warp`."""
    return lambda images, strength, warp: function(images, strength)


def up_to(greatest):
    """The strength that rises linearly from 0."""
    return lambda share, height, width: greatest * share


def blend(degenerate, images, strength):
    """The image's difference from a degenerate one, 1 + strength times as large."""
    return tf.clip_by_value(degenerate + per_image(1 + strength) * (images - degenerate), 0.0, 255.0)


def grey(images):
    """The luma of ITU-R 601, [n, h, w, 1]."""
    weights = (0.299, 0.587, 0.114) if images.shape[-1] == 3 else (1.0,)
    return tf.reduce_sum(images * weights, -1, keepdims=True)


def mean_grey(images):
    """Of each image, [n, 1, 1, 1]."""
    return tf.reduce_mean(grey(images), (1, 2, 3), keepdims=True)


def smooth(images):
    """A 3x3 mean with weight 5 in the middle, the border as it is (PIL's ImageFilter.SMOOTH)."""
    height, width, channels = images.shape[1:]
    kernel = tf.constant([[1.0, 1, 1], [1, 5, 1], [1, 1, 1]])[:, :, None, None] / 13
    smoothed = tf.nn.depthwise_conv2d(images, tf.tile(kernel, (1, 1, channels, 1)), (1, 1, 1, 1), "SAME")
    one = tf.ones(tf.shape(images)[:1])
    return tf.where(inside(one, one, one * (height - 2), one * (width - 2), images), smoothed, images)


def posterize(images, bits):
    """The highest bits of every value."""
    step = per_image(2 ** (8 - bits))
    return step * tf.floor(images / step)


def solarize(images, threshold):
    """Values from the threshold on inverted."""
    return tf.where(images >= per_image(threshold), 255 - images, images)


def autocontrast(images, _):
    """Each channel stretched to 0...255, unless it is constant."""
    least, greatest = (reduce(images, (1, 2), keepdims=True) for reduce in (tf.reduce_min, tf.reduce_max))
    return tf.where(greatest > least, 255 * tf.math.divide_no_nan(images - least, greatest - least), images)


def equalize(images, _):
    """Each channel's histogram flattened, as far as whole bins allow (PIL's ImageOps.equalize)."""
    _, height, width, channels = images.shape
    values = tf.reshape(tf.transpose(tf.cast(images, tf.int32), (0, 3, 1, 2)), (-1, height * width))
    counts = tf.math.bincount(values, minlength=256, maxlength=256, axis=-1)
    greatest = tf.reduce_max(values, 1, keepdims=True)
    step = (height * width - tf.reduce_sum(tf.cast(values == greatest, tf.int32), 1, keepdims=True)) // 255
    table = (tf.cumsum(counts, 1, exclusive=True) + step // 2) // tf.maximum(step, 1)
    table = tf.where(step > 0, tf.minimum(table, 255), tf.range(256))
    equal = tf.reshape(tf.gather(table, values, batch_dims=1), (-1, channels, height, width))
    return tf.cast(tf.transpose(equal, (0, 2, 3, 1)), tf.float32)


OPERATIONS: dict[
    str, Operation
] = {  # torchvision.transforms.RandAugment's; m / 2, as PIL's pixels lie at 0.5, 1.5, ...
    "identity": Operation(pointwise(lambda images, _: images), up_to(0), False),
    "shear_x": Operation(warped(lambda m: (1, m, m / 2, 0, 1, 0)), up_to(0.3), True),
    "shear_y": Operation(warped(lambda m: (1, 0, 0, m, 1, m / 2)), up_to(0.3), True),
    "translate_x": Operation(warped(lambda m: (1, 0, -m, 0, 1, 0)), lambda s, h, w: int(s * 150 / 331 * w), True),
    "translate_y": Operation(warped(lambda m: (1, 0, 0, 0, 1, -m)), lambda s, h, w: int(s * 150 / 331 * h), True),
    "rotate": Operation(turned, up_to(30), True),
    "brightness": Operation(enhanced(tf.zeros_like), up_to(0.9), True),
    "color": Operation(enhanced(grey), up_to(0.9), True),
    "contrast": Operation(enhanced(mean_grey), up_to(0.9), True),
    "sharpness": Operation(enhanced(smooth), up_to(0.9), True),
    "posterize": Operation(pointwise(posterize), lambda s, h, w: 8 - round(4 * s), False),
    "solarize": Operation(pointwise(solarize), lambda s, h, w: 255 * (1 - s), False),
    "autocontrast": Operation(pointwise(autocontrast), up_to(0), False),
    "equalize": Operation(pointwise(equalize), up_to(0), False),
}


def operated(images, choice, positive, share, warp):
    """To each image its choice of OPERATIONS: grouped by it, so that each runs once, and on its own images only."""
    count, height, width, _ = images.shape
    sign = tf.where(positive, 1.0, -1.0)
    parts = [tf.dynamic_partition(values, choice, len(OPERATIONS)) for values in (images, sign, tf.range(count))]
    done, places = [], []
    for operation, group, signs, place in zip(OPERATIONS.values(), *parts, strict=True):
        strength = operation.strength(share, height, width) * (signs if operation.signed else tf.ones_like(signs))
        done.append(operation.apply(group, strength, warp))
        places.append(place)
    return tf.ensure_shape(tf.dynamic_stitch(places, done), images.shape)


# Crops of images of any size, one by one, while they are read.


def random_resized_crop_box(shape, seed, scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3)) -> Box:
    """A box of a share of the area and a width over height drawn: Szegedy et al. 2014, 6.

    As torchvision's RandomResizedCrop: of ten boxes the first that fits in the image, or else the middle, as large as
    `ratio` allows.

    Args:
        shape: Of the image: height, width.
        seed: Two integers: of the run, and of the image in the run.
    """
    whole = tf.cast(shape[:2], tf.float32)
    drawn = tf.random.stateless_uniform((TRIES + 1, 2), seed)
    wide, tall = sides(drawn[:-1], tf.reduce_prod(whole), scale, ratio)
    boxes = tf.stack([tall, wide], 1)
    fits = tf.reduce_all((boxes > 0) & (boxes <= whole), 1)
    found = tf.reduce_any(fits)
    middle = tf.minimum(whole, tf.round(whole[::-1] * (1 / ratio[0], ratio[1])))
    box = tf.where(found, first(fits, tf.transpose(boxes)), middle)
    corner = tf.where(found, tf.floor(drawn[-1] * (whole - box + 1)), (whole - box) // 2)
    return tuple(tf.unstack(tf.cast(tf.concat([corner, box], 0), tf.int32)))


def scale_crop_box(shape, seed, crop, short=(256, 480)) -> Box:
    """A square which, resized to `crop`, is a crop from the image with its short side at a draw from `short`.

    Scale augmentation: Simonyan and Zisserman 2014, 3.1; He et al. 2015, 3.4.

    Args:
        shape: Of the image: height, width.
        seed: Two integers: of the run, and of the image in the run.
        crop: Pixels, at most the least of `short`.
    """
    whole = tf.cast(shape[:2], tf.float32)
    drawn = tf.random.stateless_uniform((3,), seed)
    side = tf.round(crop / tf.floor(short[0] + drawn[0] * (short[1] - short[0] + 1)) * tf.reduce_min(whole))
    corner = tf.floor(drawn[1:] * (whole - side + 1))
    return tuple(tf.unstack(tf.cast(tf.stack([corner[0], corner[1], side, side]), tf.int32)))


def read_crop(encoded, seed, size: int, box_function: Callable[..., Box], channels: int = 3) -> tf.Tensor:
    """The box of an image file, resized with antialiasing; of a JPEG no more than the box is decoded.

    Args:
        encoded: The file's bytes: JPEG, PNG, BMP or GIF, of which the first frame.
        seed: As `box_function` takes it.
        size: Height and width of the result, in pixels.
        box_function: (shape, seed) -> (top, left, height, width), for example `random_resized_crop_box`.
        channels: 3 or 1.

    Returns:
        float32 [size, size, channels], 0 to 255.
    """

    def jpeg():
        box = box_function(tf.io.extract_jpeg_shape(encoded), seed)
        return tf.io.decode_and_crop_jpeg(encoded, tf.stack(box), channels)

    def other():
        image = tf.io.decode_image(encoded, channels, expand_animations=False)
        top, left, height, width = box_function(tf.shape(image), seed)
        return image[top : top + height, left : left + width]

    crop = tf.cond(tf.io.is_jpeg(encoded), jpeg, other)
    return resized(tf.ensure_shape(crop, (None, None, channels)), (size, size))


def resized(image, size, interpolation="bilinear") -> tf.Tensor:
    """`tf.image.resize` of [h, w, c] with antialiasing, to the bit and in half its time: the height, then the width.

    Its kernel is slow along a row, whose pixels have three numbers each, and fast along a column, whose pixels are here
    whole rows.
    """
    for length in size:
        width, channels = image.shape[1] or tf.shape(image)[1], image.shape[2]
        column = tf.reshape(image, (-1, 1, width * channels))
        column = tf.image.resize(column, (length, 1), interpolation, antialias=True)
        image = tf.transpose(tf.reshape(column, (length, width, channels)), (1, 0, 2))
    return tf.cast(image, tf.float32)  # it is none yet where it had that size


# Views for an evaluation.


def center_crop(images, height: int, width: int):
    """The middle of images [..., h, w, c]."""
    shape = tf.shape(images)
    top, left = (shape[-3] - height) // 2, (shape[-2] - width) // 2
    return images[..., top : top + height, left : left + width, :]


def center_view(image, preprocessing) -> tf.Tensor:
    """An image of any size as `keras_resnet.preprocessing` resizes and crops it, before it is normalized.

    Args:
        image: [h, w, c].
        preprocessing: What has a `resize`, a `crop` and an `interpolation`: a `keras_resnet.Preprocessing`.

    Returns:
        float32 [*crop, c].
    """
    image = tf.cast(image, tf.float32)
    if preprocessing.resize:
        tall, wide = preprocessing.resize
        shape = tf.shape(image)
        kept = tf.minimum(shape[0], shape[1] * tall // wide), tf.minimum(shape[1], shape[0] * wide // tall)
        image = resized(center_crop(image, *kept), (tall, wide), preprocessing.interpolation)
    return center_crop(image, *preprocessing.crop) if preprocessing.crop else image


def ten_crop(images, size: int) -> tf.Tensor:
    """Four corners, the middle, and these mirrored, [10, n, size, size, c]: Krizhevsky et al. 2012, 4.1."""
    corners = [images[:, rows, columns] for rows in _ends(size) for columns in _ends(size)]
    five = tf.stack([*corners, center_crop(images, size, size)])
    return tf.concat([five, tf.reverse(five, [3])], 0)


def _ends(size: int) -> tuple[slice, slice]:
    return slice(None, size), slice(-size, None)


def multi_scale(image, sizes=(224, 256, 384, 480, 640)) -> Iterator[tf.Tensor]:
    """The image and its mirror image with the short side at each size, float32 [2, h, w, c]: He et al. 2015, 3.4.

    A fully-convolutional network scores each; He et al. average the scores over all.
    """
    shape = tf.shape(image)[:2]
    for size in sizes:
        view = resized(image, tf.unstack(shape * size // tf.reduce_min(shape)))
        yield tf.stack([view, tf.reverse(view, [1])])
