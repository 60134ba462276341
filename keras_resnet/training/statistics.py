"""The same moving statistics on all replicas of all workers, after every step of a training."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any

import tensorflow as tf

STATISTICS = ("moving_mean", "moving_variance", "moving_stddev", "renorm_mean", "renorm_stddev")  # of batch norms


class Moved(threading.local):
    """The statistics that this replica's step has moved; None outside of steps. Replicas run in threads."""

    variables: list[tf.Variable] | None = None


MOVED = Moved()


class EqualStatistics(tf.distribute.Strategy):
    """A strategy whose replicas keep the same moving statistics, also those of Keras' own batch norms.

    Keras leaves each replica its own, and a saved model then depends on who saves it. Here a step that moves them, and
    only such a step, ends with one all-reduce of their means. Saving then waits for no other worker.
    """

    @contextmanager
    def scope(self) -> Iterator[tf.distribute.Strategy]:
        with super().scope() as entered, tf.variable_creator_scope(noted):
            yield entered

    def run(self, fn: Callable, args: Any = (), kwargs: Any = None, options: Any = None) -> Any:
        step = ending_equal(fn) if self.num_replicas_in_sync > 1 else fn
        return super().run(step, args, kwargs, options)


def noted(create: Callable[..., tf.Variable], **settings: Any) -> tf.Variable:
    """Creates a variable. If it is a statistic, the steps that assign to it know."""
    variable = create(**settings)
    if settings.get("name") in STATISTICS:
        variable.assign = noting(variable)
    return variable


def noting(variable: tf.Variable) -> Callable:
    """The variable's `assign`."""
    assign = variable.assign

    @wraps(assign)
    def assign_and_note(*args: Any, **settings: Any) -> Any:
        moved = MOVED.variables
        if moved is not None and not any(variable is other for other in moved):
            moved.append(variable)
        return assign(*args, **settings)

    return assign_and_note


def ending_equal(step: Callable) -> Callable:
    """A replica's step, at whose end the statistics that it moved are the means over all replicas."""

    @wraps(step)
    def step_and_mean(*args: Any, **settings: Any) -> Any:
        MOVED.variables = []
        try:
            result = step(*args, **settings)
            moved = MOVED.variables
        finally:
            MOVED.variables = None
        for dtype in {variable.dtype: None for variable in moved}:
            take_mean([variable for variable in moved if variable.dtype == dtype])
        return result

    return step_and_mean


def take_mean(variables: Sequence[tf.Variable]) -> None:
    """Of each over all replicas, in one all-reduce."""
    values = tf.concat([tf.reshape(variable, [-1]) for variable in variables], 0)
    means = tf.distribute.get_replica_context().all_reduce("MEAN", values)
    sizes = [variable.shape.num_elements() for variable in variables]
    for variable, mean in zip(variables, tf.split(means, sizes), strict=True):
        variable.assign(tf.reshape(mean, variable.shape))
