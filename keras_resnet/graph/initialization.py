"""Models built without drawing weights: to be counted, or to be loaded."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import RLock, get_ident
from typing import Any

import keras
from keras import initializers, layers

from keras_resnet.graph.keras_private import forgotten_variables

DRAWN_BY_NONE = (initializers.Zeros, initializers.Ones, initializers.Constant, initializers.Identity)
ONE_AT_A_TIME = RLock()


@contextmanager
def without_weights() -> Iterator[None]:
    """While it lasts, models are built whose variables have shapes and no values. They can be counted and summarized.

    They take no memory and no time to draw. They can neither predict nor be given weights, then or later.

    >>> import keras_resnet
    >>> with without_weights():
    ...     model = keras_resnet.ResNet50()
    >>> keras_resnet.complexity(model).params
    25610152
    """
    with forgotten_variables(), keras.StatelessScope(initialize_variables=False):
        yield


@contextmanager
def zero_kernels() -> Iterator[None]:
    """While it lasts, layers of this thread have zeros for what they would draw: for models that are loaded next.

    Seeds of dropouts are drawn as ever, and files say which initializers the layers have.

    >>> with zero_kernels():
    ...     dense = layers.Dense(1)
    ...     dense.build((None, 2))
    >>> dense.get_weights()[0].tolist()
    [[0.0], [0.0]]
    """
    with ONE_AT_A_TIME:
        add_weight = layers.Layer.add_weight
        layers.Layer.add_weight = adding_zeros(add_weight, get_ident())
        try:
            yield
        finally:
            layers.Layer.add_weight = add_weight


def adding_zeros(add_weight: Callable, thread: int) -> Callable:
    """As `Layer.add_weight`, and in that thread with zeros for random values."""

    def added(layer: layers.Layer, shape: Any = None, initializer: Any = None, *rest: Any, **settings: Any) -> Any:
        if get_ident() == thread and not isinstance(initializers.get(initializer), DRAWN_BY_NONE):
            initializer = "zeros"
        return add_weight(layer, shape, initializer, *rest, **settings)

    return added
