"""How a network is trained, as data: one row a paper."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from keras_resnet.checks import (
    FLAG,
    POSITIVE,
    RATE,
    Rule,
    between,
    expect,
    expect_known,
    expect_rules,
    is_list_of,
    is_number,
    one_of,
)
from keras_resnet.data.parameters import VIEW_NAMES, expect_augmentations


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Momentum SGD with L2 under a schedule, on augmented images. Frozen and JSON-able.

    >>> from dataclasses import replace
    >>> from keras_resnet.training import RECIPES
    >>> replace(RECIPES["he2015_cifar"], epochs=20).drops  # shares of the training: they keep their places
    (0.5, 0.75)
    """

    about: str = ""  # the paper
    epochs: int
    steps_per_epoch: int | None = None  # an epoch is then a slice of the endless data; None: its batches, each once
    batch_size: int = 128  # global: of all devices together
    lr: float = 0.1
    schedule: str = "steps"  # "steps", "cosine", "linear" (to 0), "plateau" (of the validation loss), "constant"
    drops: tuple[float, ...] = (0.5, 0.75)  # shares of the steps at which "steps" multiplies the rate by `factor`
    factor: float = 0.1  # also that of "plateau"
    patience: int = 5  # epochs without a lower validation loss, after which "plateau" multiplies
    warmup: float = 0.0  # share of the steps
    warmup_lr: float | None = None  # the constant rate of the warm-up; None: it rises from 0
    warmup_error: float | None = None  # the training error below which `warmup_lr` ends, in place of `warmup`
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 0.0  # the gradient's share of w, as in torch
    decays: str = "all"  # or "kernels": norms and biases do not
    label_smoothing: float = 0.0  # Szegedy et al. 2016, section 7
    clip_norm: float | None = None  # of all gradients together
    accumulate: int = 1  # batches whose gradients are averaged into one step
    ema: float | None = None  # momentum of an average of the weights, which is then evaluated and delivered
    precision: str = "float32"  # Keras' dtype policy; "auto": "mixed_bfloat16" where the devices multiply it
    view: str | None = None  # how an image becomes the network's size, of VIEWS; None: as in the evaluation
    augment: Mapping[str, Any] = field(default_factory=dict)  # of AUGMENTATIONS, in that order
    network: Mapping[str, Any] = field(default_factory=dict)  # fields of the network's row that the recipe sets

    def __post_init__(self) -> None:
        expect_rules(_RULES, self)
        object.__setattr__(self, "drops", tuple(self.drops))  # JSON has lists
        expect_augmentations("augment", self.augment)
        held = self.warmup_error is not None
        expect(not held or self.warmup_lr, "warmup_lr", "a rate, where there is a `warmup_error`", self.warmup_lr)
        expect(not held or not self.warmup, "warmup", "0, where there is a `warmup_error`", self.warmup)
        steady = self.schedule != "plateau" or not (held or self.warmup)
        expect(steady, "warmup", "none before a plateau", self.warmup_error or self.warmup)


MANY = between(1, 10**7)
PRECISIONS = ("auto", "float32", "mixed_bfloat16", "mixed_float16")


def optional(rule: Rule) -> Rule:
    return Rule(lambda value: value is None or rule.holds(value), f"None, or {rule.expected}")


_RULES: dict[str, Rule] = {
    "schedule": one_of("steps", "cosine", "linear", "plateau", "constant"),
    "decays": one_of("all", "kernels"),
    "precision": one_of(*PRECISIONS),
    "view": one_of(None, *VIEW_NAMES),
    "drops": Rule(
        lambda drops: (
            is_list_of(lambda share: is_number(share) and 0 < share < 1)(drops) and sorted(set(drops)) == list(drops)
        ),
        "rising shares of the training, above 0 and below 1",
    ),
    "nesterov": FLAG,
    "weight_decay": Rule(lambda value: is_number(value) and value >= 0, "a number, at least 0"),
    "network": Rule(lambda value: isinstance(value, Mapping), "fields of a row by name"),
    "steps_per_epoch": optional(MANY),
    **dict.fromkeys(("epochs", "batch_size", "accumulate", "patience"), MANY),
    **dict.fromkeys(("lr", "factor"), POSITIVE),
    **dict.fromkeys(("clip_norm", "warmup_lr"), optional(POSITIVE)),
    **dict.fromkeys(("warmup_error", "ema"), optional(RATE)),
    **dict.fromkeys(("warmup", "momentum", "label_smoothing"), RATE),
}

CIFAR = {"pad_crop": 4, "flip": 0.5}  # He et al. 2015, section 4.2

HE2015_CIFAR = Recipe(
    about="He et al. 2015, section 4.2: 64k steps, the rate divided at 32k and 48k",
    epochs=160,
    steps_per_epoch=400,
    weight_decay=1e-4,
    augment=CIFAR,
)

HE2015_IMAGENET = Recipe(
    about="He et al. 2015, section 3.4: up to 600k steps, the rate divided where the error stays",
    epochs=120,
    steps_per_epoch=5000,
    batch_size=256,
    schedule="plateau",
    weight_decay=1e-4,
    view="scale_crop",
    augment={"flip": 0.5, "color": 0.1},
)

BAG_OF_TRICKS = Recipe(
    about="He T. et al. 2019, tables 3, 4 and 6: cosine, label smoothing, mixup, zero gamma, no decay of norm and bias",
    epochs=200,
    batch_size=256,
    schedule="cosine",
    warmup=5 / 200,
    nesterov=True,
    weight_decay=1e-4,
    decays="kernels",
    label_smoothing=0.1,
    view="random_resized_crop",
    augment={"flip": 0.5, "color": 0.1, "mixup": 0.2},
    network={"zero_init": True},
)

WRN = Recipe(
    about="Zagoruyko and Komodakis 2016, section 3: 200 epochs, times 0.2 at 60, 120 and 160",
    epochs=200,
    drops=(0.3, 0.6, 0.8),
    factor=0.2,
    nesterov=True,
    weight_decay=5e-4,
    augment={"pad_crop": {"padding": 4, "mode": "reflect"}, "flip": 0.5},
)

RECIPES: dict[str, Recipe] = {
    "digits": Recipe(
        about="The built-in digits, in half a minute on two cores",
        epochs=30,
        batch_size=64,
        schedule="cosine",
        warmup=0.1,
        nesterov=True,
        weight_decay=5e-4,
        decays="kernels",
        label_smoothing=0.1,
        precision="auto",
        augment={"pad_crop": 1},
    ),
    "fast": Recipe(
        about="One cycle (Smith and Topin 2017): CIFAR in an hour or two on two cores",
        epochs=48,
        lr=0.3,
        schedule="linear",
        warmup=1 / 24,
        nesterov=True,
        weight_decay=5e-4,
        decays="kernels",
        precision="auto",
        augment=CIFAR,
    ),
    "finetune": Recipe(
        about="From published weights, on a folder of photographs",
        epochs=10,
        batch_size=32,
        lr=0.01,
        schedule="cosine",
        warmup=0.05,
        nesterov=True,
        weight_decay=1e-4,
        decays="kernels",
        label_smoothing=0.1,
        precision="auto",
        view="random_resized_crop",
        augment={"flip": 0.5},
    ),
    "he2015_cifar": HE2015_CIFAR,
    "he2015_cifar_110": replace(
        HE2015_CIFAR,
        about="He et al. 2015, section 4.2, the 110-layer network: 0.01 until the training error is below 80 %",
        warmup_lr=0.01,
        warmup_error=0.8,
    ),
    "he2015_imagenet": HE2015_IMAGENET,
    "he2016_cifar": replace(
        HE2015_CIFAR,
        about="He et al. 2016, appendix: the first 400 steps at 0.01",
        warmup=400 / 64_000,
        warmup_lr=0.01,
    ),
    "wrn": WRN,
    "wrn_dropout": replace(
        WRN, about="Zagoruyko and Komodakis 2016, section 3.4: dropout 0.3", network={"dropout": 0.3}
    ),
    "resnext_cifar": replace(
        HE2015_CIFAR,
        about="Xie et al. 2017, section 5.3: 300 epochs, the rate divided at 150 and 225",
        epochs=300,
        steps_per_epoch=None,
        nesterov=True,
        weight_decay=5e-4,
    ),
    "stochastic_depth": replace(
        HE2015_CIFAR,
        about="Huang et al. 2016, section 4: 500 epochs, survival falling linearly to 0.5",
        epochs=500,
        steps_per_epoch=None,
        nesterov=True,
        network={"drop_path": 0.5, "drop_path_per": "batch"},
    ),
    "pyramidnet": replace(
        HE2015_CIFAR,
        about="Han et al. 2017, section 4.1: 300 epochs; CIFAR-100 starts at lr=0.5",
        epochs=300,
        steps_per_epoch=None,
        nesterov=True,
    ),
    "densenet": replace(
        HE2015_CIFAR,
        about="Huang et al. 2017, section 4.2: 300 epochs, batch 64",
        epochs=300,
        steps_per_epoch=None,
        batch_size=64,
        nesterov=True,
    ),
    "fractalnet": Recipe(
        about="Larsson et al. 2017, section 4.1: 400 epochs, the rate divided whenever the rest halves",
        epochs=400,
        batch_size=100,
        lr=0.02,
        drops=(0.5, 0.75, 0.875, 0.9375),
        augment=CIFAR,
        network={"drop_path": 0.15, "dropout": 0.4},
    ),
    "multi_residual": replace(
        HE2015_CIFAR,
        about="Abdi and Nahavandi 2016, their repository: 200 epochs, batch 64, the rate divided at 81 and 122",
        epochs=200,
        steps_per_epoch=None,
        batch_size=64,
        drops=(80 / 200, 121 / 200),  # at the beginning of epochs 81 and 122, counted from 1
        nesterov=True,
    ),
    "cifar100": Recipe(
        about="ResNet-18 with the CIFAR stem: 75.63 % on CIFAR-100; at 224 pixels with ImageNet's stem 67.8 %",
        epochs=100,
        batch_size=64,
        drops=(0.3, 0.6, 0.8),
        factor=0.2,
        weight_decay=5e-4,
        network={"stem": "cifar"},
        augment={  # of normalized images: what is turned in, erased or padded is the mean
            "flip": 0.1,
            "rotate": {"degrees": 10, "fill": "mean"},
            "translate": {"share": 0.1, "fill": "mean"},
            "erase": {"rate": 0.1, "fill": "mean"},
            "pad_crop": {"padding": 4, "fill": "mean"},
        },
    ),
    "bag_of_tricks": BAG_OF_TRICKS,
}


def recipe_of(recipe: Recipe | str) -> Recipe:
    """A recipe, or the one of that name."""
    if isinstance(recipe, Recipe):
        return recipe
    expect_known("recipe", RECIPES, recipe)
    return RECIPES[recipe]
