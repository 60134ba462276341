"""How a network is trained, as data."""

from dataclasses import dataclass

from keras_resnet.checks import COUNT, FLAG, POSITIVE, RATE, Rule, at_least, expect_rules


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """SGD with momentum under a cosine (Loshchilov and Hutter 2017) behind a linear warm-up."""

    epochs: int
    batch_size: int = 128
    learning_rate: float = 0.1  # at the end of the warm-up; falls to 0
    warmup: float = 0.1  # share of the steps
    momentum: float = 0.9
    nesterov: bool = True
    label_smoothing: float = 0.0  # Szegedy et al. 2016, section 7
    padding: int = 0  # pixels by which training images are moved at random

    def __post_init__(self):
        expect_rules(_RULES, self)


_RULES: dict[str, Rule] = {
    "learning_rate": POSITIVE,
    "nesterov": FLAG,
    "padding": at_least(0),
    **dict.fromkeys(("epochs", "batch_size"), COUNT),
    **dict.fromkeys(("warmup", "momentum", "label_smoothing"), RATE),
}

RECIPES: dict[str, Recipe] = {"digits": Recipe(epochs=30, batch_size=64, label_smoothing=0.1, padding=1)}
