"""What is known of a network, inside its file and beside its exports: its row, what it reads, and how it was made."""

import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from math import floor
from pathlib import Path
from typing import Any

from keras_resnet.checks import COUNT, Rule, expect, expect_rules, invalid, is_list_of, is_number, one_of, printable
from keras_resnet.files import completed, member, opened_archive, replaced, small_text, versions_in
from keras_resnet.machine import versions

ARCHIVED = "keras_resnet.json"  # the card's name in a `.keras` archive
BESIDE = "card.json"  # and in a folder
MOST_JSON = 2**21  # bytes; the names of 21,841 classes have 0.5 MB
IMAGENET = "imagenet"  # for a thousand names, which keras.applications has
Size = tuple[int, int]


@dataclass(frozen=True)
class Preprocessing:
    """From pixels of 0 to 255, RGB, to what the network reads: resized, cropped, (pixels - mean) / std.

    >>> from keras_resnet import Preprocessing
    >>> Preprocessing(mean=(127.5, 127.5, 127.5), std=(127.5, 127.5, 127.5)).sized(224, 224, share=0.875).resize
    (256, 256)
    """

    mean: tuple[float, ...]  # a channel each, on the scale of 0 to 255
    std: tuple[float, ...]
    resize: Size | None = None  # height and width to which the image's middle is resized; None leaves the size
    crop: Size | None = None  # height and width of the middle that is kept then; None keeps all
    interpolation: str = "bilinear"

    def __post_init__(self):
        expect_rules(_RULES, self)
        for name, kind in {"mean": float, "std": float, "resize": int, "crop": int}.items():  # JSON has lists
            if getattr(self, name) is not None:
                object.__setattr__(self, name, tuple(map(kind, getattr(self, name))))
        pairs = zip(self.crop or (), self.resize or (), strict=False)
        expect(all(crop <= size for crop, size in pairs), "crop", f"at most the {self.resize} of `resize`", self.crop)
        expect(len(self.mean) == len(self.std), "std", f"{len(self.mean)} numbers, as many as `mean`", self.std)

    def __call__(self, images):
        """Of floats that have their size."""
        return (images - self.mean) / self.std

    def sized(self, height: int, width: int, share: float = 1.0) -> "Preprocessing":
        """For images of that size, a `share` of the resized ones' height and width."""
        resize = floor(height / share), floor(width / share)
        return replace(self, resize=resize, crop=(height, width))

    def covering(self, height: Any, width: Any, maximum: Callable[[Any, Any], Any] = max) -> tuple[Any, Any]:
        """Height and width of the whole image where it covers `resize` in proportion, rounded as in torchvision."""
        tall, wide = self.resize or (height, width)
        return maximum(tall, wide * height // width), maximum(wide, tall * width // height)

    def for_input(self, shape: tuple[int | None, ...], share: float) -> "Preprocessing":
        """For a network that takes images of that shape; one that takes any size leaves theirs."""
        if len(shape) != 3:
            return self
        height, width, channels = shape
        adapted = self.channels(channels or len(self.mean))
        return adapted.sized(height, width, share) if height and width else adapted

    @property
    def share(self) -> float:
        """Of the resized image's height that the crop keeps."""
        return self.crop[0] / self.resize[0] if self.crop and self.resize else 1.0

    def channels(self, count: int) -> "Preprocessing":
        """For another number of channels: one takes the mean of all, more take them in turn, as their kernels do."""
        if count == len(self.mean):
            return self
        turn = [index % len(self.mean) for index in range(count)]
        mean, std = (
            (sum(values) / len(values),) if count == 1 else tuple(values[index] for index in turn)
            for values in (self.mean, self.std)
        )
        return replace(self, mean=mean, std=std)


OVERSHOOTING = ("bicubic", "lanczos3", "lanczos5")  # interpolations that leave the range of the pixels


def middle(length: Any, kept: int) -> Any:
    """Where the middle begins, rounded half to even as in torchvision."""
    half = (length - kept) // 2
    return half + (length - kept) % 2 * (half % 2)


SIZE = Rule(
    lambda size: size is None or (is_list_of(COUNT.holds)(size) and len(size) == 2),
    "None, or a height and a width in pixels",
)
_RULES: dict[str, Rule] = {
    "mean": Rule(is_list_of(is_number), "a number for every channel"),
    "std": Rule(is_list_of(lambda x: is_number(x) and x > 0), "a number above 0 for every channel"),
    "resize": SIZE,
    "crop": SIZE,
    "interpolation": one_of("nearest", "bilinear", "bicubic", "lanczos3", "lanczos5"),
}


def of_unit(mean, std):
    """From statistics of pixels between 0 and 1."""
    return Preprocessing(tuple(255 * value for value in mean), tuple(255 * value for value in std))


IMAGENET_SHARE = 0.875  # 224 of 256 pixels

PREPROCESSINGS: dict[str, tuple[Preprocessing, float]] = {  # and the share that the crop keeps
    "imagenet": (of_unit((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), IMAGENET_SHARE),  # torchvision, timm
    "caffe": (Preprocessing((123.68, 116.779, 103.939), (1.0, 1.0, 1.0)), IMAGENET_SHARE),  # MSRA, keras.applications
    "tf": (Preprocessing((127.5, 127.5, 127.5), (127.5, 127.5, 127.5)), IMAGENET_SHARE),  # -1 to 1
    "cifar10": (of_unit((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)), 1.0),
    "cifar100": (of_unit((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)), 1.0),
    "unit": (Preprocessing((0.0, 0.0, 0.0), (255.0, 255.0, 255.0)), 1.0),  # 0 to 1
    "none": (Preprocessing((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)), 1.0),  # 0 to 255
}


@dataclass(frozen=True, kw_only=True)
class Card:
    """What is known of a network. Accuracies are fractions."""

    network: str
    config: Mapping[str, Any]  # the network's row
    input_shape: tuple[int | None, ...]
    weights: str | None = None  # the file or address that they came from
    licence: str | None = None  # of these weights
    preprocessing: Preprocessing | None = None
    class_names: tuple[str, ...] | str | None = None  # "imagenet" stands for its thousand
    params: int | None = None
    macs: int | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    exports: Mapping[str, Any] = field(default_factory=dict)  # format -> what was measured of its file
    hardware: str | None = None  # on which it was trained
    versions: Mapping[str, str] = field(default_factory=versions)

    def __post_init__(self):
        expect_rules(_CARD_RULES, self)
        for name in ("config", "recipe", "data"):
            object.__setattr__(self, name, json.loads(json.dumps(getattr(self, name))))  # lists, as in a file

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> "Card":
        """Fields of later versions are passed over."""
        record = json.loads(text)
        known = {name: record[name] for name in (field.name for field in fields(cls)) if name in record}
        if known.get("preprocessing"):
            known["preprocessing"] = Preprocessing(**known["preprocessing"])
        if isinstance(known.get("class_names"), list):
            known["class_names"] = tuple(known["class_names"])
        return cls(**known | {"input_shape": tuple(known["input_shape"])})

    def to_markdown(self) -> str:
        """One table for what is single, one for each of what has parts."""
        record = {key: value for key, value in asdict(self).items() if value not in (None, {})}
        single = {key: value for key, value in record.items() if not isinstance(value, dict)}
        parts = {key: value for key, value in record.items() if isinstance(value, dict)}
        data = f" on {self.data['name']}" if "name" in self.data else ""
        tables = [f"# {self.network}{data}", table(single)]
        tables += [f"## {key.capitalize()}\n\n{table(value)}" for key, value in parts.items()]
        return printable("\n\n".join(tables) + "\n")

    def write(self, folder: Path) -> None:
        """`card.md`, to read, and then the same as `card.json`."""
        with replaced(folder / "card.md") as path:
            path.write_text(self.to_markdown())
        with completed(folder / BESIDE) as path:
            path.write_text(self.to_json())


IS_MAPPING = Rule(lambda value: isinstance(value, Mapping), "a dict")
IS_NAMES = Rule(
    lambda names: names in (None, IMAGENET) or is_list_of(lambda name: isinstance(name, str))(names),
    f"names, {IMAGENET!r} or None",
)
_CARD_RULES: dict[str, Rule] = {
    "network": Rule(lambda value: isinstance(value, str), "a name"),
    "input_shape": Rule(
        lambda shape: isinstance(shape, tuple | list) and all(side is None or COUNT.holds(side) for side in shape),
        "sizes, or None for any",
    ),
    "class_names": IS_NAMES,
    "preprocessing": Rule(lambda value: value is None or isinstance(value, Preprocessing), "a Preprocessing or None"),
    **dict.fromkeys(("config", "recipe", "data", "metrics", "exports", "versions"), IS_MAPPING),
}


def table(values: dict[str, Any]) -> str:
    return "\n".join(["| | |", "| --- | --- |", *(f"| {key} | {cell(value)} |" for key, value in values.items())])


def cell(value: Any) -> str:
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {cell(part)}" for key, part in value.items())
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def card(model_or_path: Any) -> Card | None:
    """What is known of a network: its row, where its weights are from, its preprocessing and class names.

    Args:
        model_or_path: A model that this package built, or the path of a `.keras` file that such a model saved, or of
            the folder of a run or of an export; among several versions, that of the last. (A model that
            `keras.models.load_model` returns has left its card in the file.)

    Returns:
        A `keras_resnet.Card`, or None where there is none.

    >>> import keras_resnet
    >>> keras_resnet.card(keras_resnet.ResNet20(shortcut="B")).config["shortcut"]
    'B'
    """
    if not isinstance(model_or_path, str | Path):
        return getattr(model_or_path, "card", None)
    try:
        if (folder := Path(model_or_path)).is_dir():
            version = folder / str(max(versions_in(folder), default="."))
            return Card.from_json(small_text(version / BESIDE, MOST_JSON))
        with opened_archive(model_or_path) as archive:
            there = ARCHIVED in archive.namelist()
            return Card.from_json(member(archive, ARCHIVED, MOST_JSON)) if there else None
    except Exception as error:  # whatever archives, JSON and odd fields raise
        raise invalid("path", f"a `.keras` file or an export ({error})", str(model_or_path)) from error


def attach(model: Any, known: Card) -> None:
    """Gives the model a card, which `model.save` then writes into the `.keras` archive: plain Keras passes it over."""
    model.card = known

    def save(filepath, *args, **kwargs):
        type(model).save(model, filepath, *args, **kwargs)
        if zipfile.is_zipfile(filepath):
            with zipfile.ZipFile(filepath, "a") as archive:
                archive.writestr(ARCHIVED, model.card.to_json())

    model.save = save
