"""How well a network classifies images that it has not seen."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_resnet.checks import COUNT, expect, expect_known, expect_rule, printable
from keras_resnet.data import (
    Source,
    evaluation_batches,
    evaluation_view,
    expect_one_size,
    load_data,
    multi_scale,
    ten_crop,
)
from keras_resnet.modelcard import Preprocessing, card
from keras_resnet.predict import ends_in_logits, known_preprocessing


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Accuracies are fractions of the images; `loss` is the mean cross-entropy in nats."""

    loss: float
    top1: float
    top5: float  # 1.0 where there are five classes or fewer
    confusion: np.ndarray  # int64 [classes, classes]: images of the first class that were taken for the second
    class_names: tuple[str, ...]

    @property
    def images(self) -> int:
        return int(self.confusion.sum())

    @property
    def per_class(self) -> dict[str, float | None]:
        """The accuracy of each class; None for a class without images."""
        right, of = self.confusion.diagonal(), self.confusion.sum(1)
        return {name: float(r / n) if n else None for name, r, n in zip(self.class_names, right, of, strict=True)}

    def metrics(self) -> dict[str, float]:
        """For a card."""
        return {"accuracy": self.top1, "top5_accuracy": self.top5, "loss": self.loss}

    def __str__(self) -> str:
        shares = ((name, "-" if share is None else f"{share:.2%}") for name, share in self.per_class.items())
        lines = [f"{printable(name):>20}  {share}" for name, share in shares]
        head = f"top-1 {self.top1:.2%}, top-5 {self.top5:.2%}, loss {self.loss:.4f} on {self.images:,} images"
        return "\n".join([head, *lines])


class View(NamedTuple):
    """How the images of a test are read, and what the network then sees of them."""

    read: Callable[[Preprocessing], Preprocessing]
    seen: Callable[..., Iterable]  # (images, crop) -> batches, over whose probabilities the mean is taken
    single: bool = False  # images of any size, one by one


TEST_VIEWS = {
    "center": View(lambda reads: reads, lambda images, crop: [images]),
    "ten_crop": View(lambda reads: replace(reads, crop=None), lambda images, crop: ten_crop(images, crop[0])),
    "multi_scale": View(
        lambda reads: replace(reads, resize=None, crop=None),
        lambda images, _: (view[None] for pair in multi_scale(images[0]) for view in pair),
        single=True,
    ),
}


def evaluate(
    model: keras.Model,
    data: Any,
    split: str = "test",
    preprocessing: Preprocessing | str | None = None,
    *,
    view: str = "center",
    batch_size: int = 256,
) -> Evaluation:
    """Accuracy, loss and confusion matrix of a model on a split.

    Args:
        model: Ends in logits or in a softmax.
        data: As `keras_resnet.load_data` takes it; with as many classes as the model has outputs.
        split: "test", "validation" or "train".
        preprocessing: Where the model's card does not say how it reads images: see `keras_resnet.preprocessing`.
        view: "center" (one crop), "ten_crop" (four corners, the middle, and these mirrored; Krizhevsky et al. 2012,
            section 4.1), or "multi_scale" (whole images with the short side at 224, 256, 384, 480 and 640 pixels, and
            these mirrored, for a model of any image size; He et al. 2015, section 3.4). Probabilities are averaged.
        batch_size: Images at a time.

    Raises:
        ValueError: Before anything is read, if the source has no such split or other classes, or neither the card nor
            `preprocessing` says how the model reads images.
    """
    source = source_for(model, data, split)
    expect_known("view", TEST_VIEWS, view)
    expect_rule(COUNT, "batch_size", batch_size)
    reads, examples = known_preprocessing(model, preprocessing), getattr(source, split)
    expect_possible(view, model, reads)
    read, seen, single = TEST_VIEWS[view]
    probabilities = classifier(model, reads)
    if not single:
        expect_one_size(examples, read(reads))
    seen_first = evaluation_view(examples, read(reads), source.shape[-1])
    batches = evaluation_batches(examples, source.classes, 1 if single else batch_size, view=seen_first)
    scores = [np.mean([probabilities(batch) for batch in seen(images, reads.crop)], 0) for images, _ in batches]
    return evaluation(np.concatenate(scores), examples.labels, source.class_names)


def expect_possible(view: str, model: keras.Model, reads: Preprocessing) -> None:
    """Raises an ArgumentError if the model's images have no such view."""
    square = reads.crop and reads.crop[0] == reads.crop[1] and reads.crop != reads.resize
    wanted = f"'center', where no square is cropped from larger images ({reads})"
    expect(view != "ten_crop" or square, "view", wanted, view)
    any_size = not TEST_VIEWS[view].single or None in model.input_shape[1:3]
    expect(any_size, "view", "'center', where the model takes one size", view)


def classifier(model: keras.Model, reads: Preprocessing) -> Callable[[tf.Tensor], tf.Tensor]:
    """From images of 0 to 255 to probabilities."""
    logits = ends_in_logits(model)

    @tf.function(reduce_retracing=True)
    def probabilities(images: tf.Tensor) -> tf.Tensor:
        outputs = model(reads(images), training=False)
        return tf.nn.softmax(outputs) if logits else outputs

    return probabilities


def source_for(model: keras.Model, data: Any, split: str) -> Source:
    """The data, with such a split, of the model's classes and channels."""
    source = load_data(data)
    splits = [name for name in ("test", "validation", "train") if getattr(source, name) is not None]
    expect(split in splits, "split", f"one of {splits}, which {source.name} has", split)
    expect_fitting(model, source)
    classes = source.classes
    names, numbers = getattr(card(model), "class_names", None), tuple(map(str, range(classes)))
    agree = not isinstance(names, tuple) or source.class_names in (names, numbers) or names == numbers
    expect(agree, "data", f"the model's classes, {names}", source.class_names)
    return source


def expect_fitting(model: keras.Model, source: Source) -> None:
    """Raises a ValueError unless the source has the model's classes and channels."""
    classes, channels = model.output_shape[-1], model.input_shape[-1]
    expect(source.classes == classes, "data", f"a source of the model's {classes} classes", source.classes)
    expect(source.shape[-1] == channels, "data", f"images of the model's {channels} channels", source.shape)


def evaluation(scores: np.ndarray, labels: np.ndarray, class_names: tuple[str, ...]) -> Evaluation:
    """Of probabilities [N, classes]."""
    ranked, count = np.argsort(-scores, axis=1, kind="stable"), len(class_names)
    of_truth = scores[np.arange(len(labels)), labels]
    confusion = np.bincount(labels * count + ranked[:, 0], minlength=count**2).reshape(count, count)
    return Evaluation(
        loss=float(-np.log(np.maximum(of_truth, np.finfo("float32").tiny)).mean()),
        top1=float(confusion.trace() / len(labels)),
        top5=float(np.mean((ranked[:, :5] == labels[:, None]).any(1))),
        confusion=confusion,
        class_names=class_names,
    )
