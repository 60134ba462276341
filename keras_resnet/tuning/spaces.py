"""Spaces of networks and recipes: functions from keras-tuner's `hp` and base rows to drawn rows."""

from collections.abc import Callable
from dataclasses import fields, replace
from math import sqrt
from typing import Any

from keras_tuner import HyperParameters

from keras_resnet.checks import expect
from keras_resnet.networks.blocks import ORDERS
from keras_resnet.networks.config import ResNetConfig
from keras_resnet.networks.families import DenseNetConfig, FractalNetConfig
from keras_resnet.networks.zoo import Config
from keras_resnet.training import Recipe

WIDTHS = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0)  # of the base network's
STEPS = (0.5, 0.75, 1.0, 1.5)  # of the base network's growth from stage to stage
CARDINALITIES = (1, 2, 4, 8, 16, 32, 64)
SAME_COST = 0.1  # share by which a block's multiply-adds may differ
SHORTCUT_KEYS = ("none", "A", "A_append", "B", "C", "D")  # of the 2015 paper, and ResNet-D's
RATES = ("drop_path", "dropout", "head_dropout")
Drawn = tuple[Config, Recipe]


def width_depth(hp: HyperParameters, config: Config, recipe: Recipe) -> Drawn:
    """Width of the network and of every stage, and blocks of every stage."""
    return RESIZED[type(config)](hp, config), recipe


def resized_stages(hp: HyperParameters, config: ResNetConfig) -> ResNetConfig:
    """A stage is never narrower than the one before, for shortcuts that pad; widths stay multiples of the groups."""
    quantum = 4 if config.groups == 1 else round(config.groups / config.inner)
    scale = first = hp.Choice("width", WIDTHS, default=1.0)
    stages, before = [], config.stages[0][0]
    for number, stage in enumerate(config.stages, start=1):
        if number > 1:
            step = hp.Choice(f"growth{number}", STEPS, default=1.0)
            scale *= max(before, stage[0] * step) / stage[0]
        depth = hp.Int(f"depth{number}", 1, 2 * len(stage), default=len(stage))
        stages.append(tuple(multiple(scale * stage[block * len(stage) // depth], quantum) for block in range(depth)))
        before = stage[-1]
    return replace(config, stages=tuple(stages), stem_filters=multiple(first * config.stem_filters, quantum))


def resized_densenet(hp: HyperParameters, config: DenseNetConfig) -> DenseNetConfig:
    scale = hp.Choice("width", WIDTHS, default=1.0)
    depths = enumerate(config.stages, start=1)
    stages = tuple(hp.Int(f"depth{number}", 1, 2 * layers, default=layers) for number, layers in depths)
    growth, stem = (max(1, round(scale * channels)) for channels in (config.growth, config.stem_filters))
    return replace(config, stages=stages, growth=growth, stem_filters=stem)


def resized_fractalnet(hp: HyperParameters, config: FractalNetConfig) -> FractalNetConfig:
    scale = hp.Choice("width", WIDTHS, default=1.0)
    columns = hp.Int("columns", 1, config.columns + 1, default=config.columns)
    return replace(config, stages=tuple(multiple(scale * filters, 4) for filters in config.stages), columns=columns)


RESIZED: dict[type, Callable] = {
    ResNetConfig: resized_stages,
    DenseNetConfig: resized_densenet,
    FractalNetConfig: resized_fractalnet,
}


def multiple(width: float, quantum: int) -> int:
    """The nearest one, at least one quantum."""
    return max(1, round(width / quantum)) * quantum


def shortcut_order(hp: HyperParameters, config: Config, recipe: Recipe) -> Drawn:
    """What the shortcut does, and where norm and activation sit (He et al. 2016)."""
    row = residual(config)
    for field, keys in (("shortcut", SHORTCUT_KEYS), ("order", ORDERS)):
        allowed = {key: changed for key in keys if (changed := possible(row, **{field: key}))}
        own = getattr(row, field)
        row = allowed[hp.Choice(field, list(allowed), default=own if own in allowed else None)]
    return row, recipe


def residual(config: Config) -> ResNetConfig:
    expect(isinstance(config, ResNetConfig), "network", "a plain or residual network in this space", config)
    return config  # type: ignore[return-value]


def possible(config: ResNetConfig, **changes: Any) -> ResNetConfig | None:
    """The changed row, or None where its fields would contradict each other."""
    try:
        return replace(config, **changes)
    except ValueError:
        return None


def cardinality(hp: HyperParameters, config: Config, recipe: Recipe) -> Drawn:
    """Groups against inner width at a block's constant cost (Xie et al. 2017, table 2).

    A network of basic blocks first turns into bottlenecks of four times the channels, which cost as much.
    """
    row = residual(config)
    if row.branch == "basic":
        stages = tuple(tuple(4 * filters for filters in stage) for stage in row.stages)
        row = replace(row, branch="bottleneck", inner=1 / 4, stages=stages)
    fitting = {groups: changed for groups in CARDINALITIES if (changed := at_cost(row, groups))}
    expect(len(fitting) > 1, "network", "one whose widths are multiples of each other in this space", row.stages)
    return fitting[hp.Choice("cardinality", list(fitting), default=min(fitting))], recipe


def at_cost(row: ResNetConfig, groups: int) -> ResNetConfig | None:
    """With so many groups and the inner width W at which 2 F W + 9 W^2 / groups stays; None where none does."""

    def cost(width, groups):
        return 2 * filters * width + 9 * width**2 / groups

    filters = min(filters for stage in row.stages for filters in stage)
    wanted = cost(row.width(filters), row.groups)
    width = groups / 9 * (sqrt(filters**2 + 9 * wanted / groups) - filters)
    inner = groups * max(1, round(width / groups))
    if abs(cost(inner, groups) / wanted - 1) > SAME_COST:
        return None
    return possible(row, groups=groups, inner=inner / filters)


def regularization(hp: HyperParameters, config: Config, recipe: Recipe) -> Drawn:
    """Drop path and dropout, of those that the family has."""
    known = [field.name for field in fields(config)]
    names = [name for name in RATES if name in known]
    rates: dict[str, Any] = {name: short(hp.Float(name, 0.0, 0.5, step=0.1, default=0.0)) for name in names}
    return replace(config, **rates), recipe


def optimizer(hp: HyperParameters, config: Config, recipe: Recipe) -> Drawn:
    """Learning rate, weight decay, momentum, Nesterov."""
    decay = min(max(recipe.weight_decay, 1e-5), 1e-2)
    return config, replace(
        recipe,
        lr=short(hp.Float("lr", recipe.lr / 10, recipe.lr * 10, sampling="log", default=recipe.lr)),
        weight_decay=short(hp.Float("weight_decay", 1e-5, 1e-2, sampling="log", default=decay)),
        momentum=short(hp.Choice("momentum", [0.8, 0.9, 0.95], default=0.9)),
        nesterov=hp.Boolean("nesterov", default=recipe.nesterov),
    )


def short(number: float) -> float:
    """Three digits, which also survive the 32 bits in which keras-tuner's workers get it."""
    return float(f"{number:.3g}")


SPACES: dict[str, Callable[..., Drawn]] = {
    "width_depth": width_depth,
    "shortcut_order": shortcut_order,
    "cardinality": cardinality,
    "regularization": regularization,
    "optimizer": optimizer,
}
