"""SGD as the papers' code has it, and the learning rates that drive it."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops
from keras.optimizers import schedules

from keras_resnet.graph.keras_private import variable_index
from keras_resnet.training.recipes import Recipe


class SGD(keras.optimizers.SGD):
    """Momentum SGD with the papers' L2, equal to torch's `SGD(weight_decay=...)` step for step.

    `gradient += weight_decay * w`; `velocity = momentum * velocity + gradient`; `w -= lr * velocity`. Keras' own SGD
    has the learning rate inside the velocity, where a falling rate leaves longer traces, and its `weight_decay` is the
    decoupled one. Whatever else `keras.optimizers.SGD` takes (clipping, accumulation, averages), this one does.

    Args:
        l2: The weight decay, once `w`: the penalty that it is the gradient of is `l2 / 2 * w**2`.
        decays: "all" variables, or the "kernels" alone: no norm and no bias (He T. et al. 2019, section 3.1).
    """

    def __init__(self, *args: Any, l2: float = 0.0, decays: str = "all", **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.l2, self.decays = l2, decays

    def build(self, variables: Sequence[keras.Variable]) -> None:
        super().build(variables)
        self._decayed = [self.decays == "all" or variable.name.endswith("kernel") for variable in variables]

    def update_step(self, gradient: Any, variable: keras.Variable, learning_rate: Any) -> None:
        step = ops.cast(learning_rate, variable.dtype)
        gradient, index = ops.cast(gradient, variable.dtype), variable_index(self, variable)
        if self.l2 and self._decayed[index]:
            gradient = ops.add(gradient, ops.multiply(variable, self.l2))
        if self.momentum:
            velocity = self.momentums[index]
            self.assign(velocity, ops.add(ops.multiply(velocity, self.momentum), gradient))
            gradient = ops.add(gradient, ops.multiply(velocity, self.momentum)) if self.nesterov else velocity
        self.assign_sub(variable, ops.multiply(gradient, step))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "l2": self.l2, "decays": self.decays}


class WarmUp(schedules.LearningRateSchedule):
    """`after`, once so many steps at a constant rate, or rising from 0 to `peak`, are over."""

    def __init__(self, steps: int, peak: float, constant: float | None, after: schedules.LearningRateSchedule):
        self.steps, self.peak, self.constant, self.after = steps, peak, constant, after

    def __call__(self, step: Any) -> Any:
        step = ops.cast(step, "float32")
        warm = self.peak * (step + 1) / self.steps if self.constant is None else self.constant
        return ops.where(step < self.steps, warm, self.after(ops.maximum(step - self.steps, 0.0)))

    def get_config(self) -> dict[str, Any]:
        return {"steps": self.steps, "peak": self.peak, "constant": self.constant, "after": self.after}


class Held(schedules.LearningRateSchedule):
    """`after`, or a constant rate for as long as `HoldUntil` holds it."""

    def __init__(self, constant: float, after: schedules.LearningRateSchedule):
        self.constant, self.after = constant, after
        self.held = keras.Variable(1.0, trainable=False, name="held")

    def __call__(self, step: Any) -> Any:
        return ops.where(self.held > 0, self.constant, self.after(step))

    def get_config(self) -> dict[str, Any]:
        return {"constant": self.constant, "after": self.after}


class HoldUntil(keras.callbacks.Callback):
    """Holds the rate until the training error is below `error` (He et al. 2015, section 4.2, the 110-layer network)."""

    def __init__(self, schedule: Held, error: float):
        super().__init__()
        self.schedule, self.error, self.held = schedule, error, 1.0

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.schedule.held.assign(self.held)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.held = float(self.held and 1 - logs["accuracy"] >= self.error)


FALLING: dict[str, Callable[[Recipe, int, int], schedules.LearningRateSchedule]] = {  # (recipe, steps, steps before)
    "steps": lambda recipe, steps, warm: schedules.PiecewiseConstantDecay(
        [round(share * (steps + warm)) - warm - 1 for share in recipe.drops],  # a rate holds to its boundary, inclusive
        [recipe.lr * recipe.factor**drop for drop in range(len(recipe.drops) + 1)],
    ),
    "cosine": lambda recipe, steps, warm: schedules.CosineDecay(recipe.lr, steps),  # Loshchilov and Hutter 2017
    "linear": lambda recipe, steps, warm: schedules.PolynomialDecay(recipe.lr, steps, end_learning_rate=0.0),
    "constant": lambda recipe, steps, warm: schedules.PolynomialDecay(recipe.lr, steps, end_learning_rate=recipe.lr),
}


def learning_rate(recipe: Recipe, steps: int) -> schedules.LearningRateSchedule | float:
    """The recipe's over so many steps; a plain number where a plateau of the validation loss lowers it."""
    if recipe.schedule == "plateau":
        return recipe.lr
    warm = round(recipe.warmup * steps)
    rate = FALLING[recipe.schedule](recipe, max(1, steps - warm), warm)
    if recipe.warmup_error is not None and recipe.warmup_lr:
        return Held(recipe.warmup_lr, rate)
    return WarmUp(warm, recipe.lr, recipe.warmup_lr, rate) if warm else rate


class Average(keras.callbacks.Callback):
    """Keeps averages of the weights and of the norms' statistics, which are evaluated and delivered.

    Keras' `SwapEMAWeights` averages the weights alone: the norms then have the statistics of other weights.

    Args:
        averaged: The variables.
        momentum: Of the average, a step.
    """

    def __init__(self, averaged: list[keras.Variable], momentum: float):
        super().__init__()
        self.averaged, self.momentum, self.inside = averaged, momentum, False
        self.variables = [keras.Variable(variable, trainable=False, name="average") for variable in averaged]

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        for average, variable in zip(self.variables, self.averaged, strict=True):
            average.assign(average * self.momentum + variable * (1 - self.momentum))

    def put(self, inside: bool) -> None:
        """The averages into the model, or out of it."""
        if inside != self.inside:
            for average, variable in zip(self.variables, self.averaged, strict=True):
                kept = ops.copy(variable.value)
                variable.assign(average)
                average.assign(kept)
            self.inside = inside

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.put(False)

    def on_test_begin(self, logs: Any = None) -> None:
        self.put(True)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.put(True)


def optimizer(recipe: Recipe, rate: schedules.LearningRateSchedule | float) -> SGD:
    """The recipe's SGD at such a rate."""
    return SGD(
        rate,
        recipe.momentum,
        recipe.nesterov,
        l2=recipe.weight_decay,
        decays=recipe.decays,
        global_clipnorm=recipe.clip_norm,
        gradient_accumulation_steps=recipe.accumulate if recipe.accumulate > 1 else None,
    )
