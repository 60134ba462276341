"""Where images come from: arrays in memory with what a pipeline and a card need to know of them."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import as_file, files

import numpy as np

Arrays = tuple[np.ndarray, np.ndarray]  # images, uint8 [N, H, W, C]; labels, int32 [N]


@dataclass(frozen=True)
class Source:
    """Labelled images in fixed splits: `test` is held out, `validation` chooses between checkpoints."""

    name: str
    about: str
    train: Arrays
    validation: Arrays
    test: Arrays
    class_names: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.train[0].shape[1:]

    @property
    def mean(self) -> tuple[float, ...]:
        """Of the training images' channels, on their scale of 0 to 255."""
        return tuple(self.train[0].mean((0, 1, 2)).tolist())

    @property
    def std(self) -> tuple[float, ...]:
        return tuple(self.train[0].std((0, 1, 2)).tolist())


def digits() -> Source:
    """1,797 handwritten digits of 13 writers, 8x8 pixels, in the package (Alpaydin and Kaynak 1998, UCI, CC BY 4.0).

    The splits are fixed: every fifth of each class is the test, so that the 13 writers are in both; every tenth of the
    others is the validation.

    >>> from keras_resnet.data import digits
    >>> [len(labels) for _, labels in (digits().train, digits().validation, digits().test)]
    [1295, 143, 359]
    """
    with as_file(files("keras_resnet") / "data/digits/digits.npz") as path, np.load(path) as archive:
        images, labels = archive["images"], archive["labels"].astype("int32")
    images = np.round(images[..., np.newaxis] * (255 / 16)).astype("uint8")
    by_class = np.argsort(labels, kind="stable")
    test, rest = by_class[4::5], np.delete(by_class, np.s_[4::5])
    validation, train = rest[9::10], np.delete(rest, np.s_[9::10])
    return Source(
        name="digits",
        about="Optical Recognition of Handwritten Digits, E. Alpaydin and C. Kaynak, UCI 1998, CC BY 4.0",
        train=(images[np.sort(train)], labels[np.sort(train)]),
        validation=(images[np.sort(validation)], labels[np.sort(validation)]),
        test=(images[np.sort(test)], labels[np.sort(test)]),
        class_names=tuple("0123456789"),
    )


SOURCES: dict[str, Callable[[], Source]] = {"digits": digits}
