"""What a network costs, and which of its costs are over a budget."""

import time
from collections.abc import Mapping
from statistics import median

import keras
import keras_tuner
import tensorflow as tf

from keras_resnet.graph.complexity import complexity

BUDGETS = {"params": "max_params", "macs": "max_macs", "latency_ms": "max_latency_ms"}  # cost -> argument
WARMUPS, REPETITIONS = 3, 20  # forward passes of one image, before and while they are timed


class Infeasible(keras_tuner.errors.FailedTrialError):
    """A network over the budget. keras-tuner does not try it again."""


def costs_of(model: keras.Model, budget: Mapping[str, float]) -> dict[str, float]:
    """Parameters, multiply-adds, and, where these are within the budget, milliseconds."""
    counted = complexity(model)
    costs: dict[str, float] = {"params": counted.params, "macs": counted.macs}
    return costs if excess(costs, budget) else {**costs, "latency_ms": latency_ms(model)}


def excess(costs: Mapping[str, float], budget: Mapping[str, float]) -> str:
    """What is over the budget; nothing where all is within."""
    over = [cost for cost, most in budget.items() if cost in costs and costs[cost] > most]
    return ", ".join(f"{cost} {number_text(costs[cost])} > {limit_text(cost, budget)}" for cost in over)


def limit_text(cost: str, budget: Mapping[str, float]) -> str:
    return f"{BUDGETS[cost]}={number_text(budget[cost])}"


def number_text(number: float) -> str:
    return f"{number:,.0f}" if number == int(number) else f"{number:,.3g}"


def latency_ms(model: keras.Model) -> float:
    """Of one image through the compiled network on this machine, the median."""
    images = tf.zeros((1, *model.input_shape[1:]))
    forward = tf.function(lambda images: model(images, training=False))

    def seconds() -> float:
        start = time.perf_counter()
        forward(images).numpy()
        return time.perf_counter() - start

    return 1000 * median([seconds() for _ in range(WARMUPS + REPETITIONS)][WARMUPS:])
