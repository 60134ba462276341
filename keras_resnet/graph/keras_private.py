"""Every private name of Keras that the package uses, without a default: a rename must fail, and not pass unseen."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
from keras.src.backend.common import global_state


@contextmanager
def forgotten_variables() -> Iterator[None]:
    """Variables that are created without values in it keep none.

    Keras lists them, and would initialize them at the end of the next scope. It offers no way to leave the list.
    """
    listed = global_state.get_global_attribute("uninitialized_variables", [])
    global_state.set_global_attribute("uninitialized_variables", [])
    try:
        yield
    finally:
        global_state.set_global_attribute("uninitialized_variables", listed)


def nodes_by_depth(graph: keras.Function) -> dict[int, list[Any]]:
    """The graph's calls, those nearest to its outputs under 0. Public are its layers, and the first call of each."""
    return graph._nodes_by_depth


def variable_index(optimizer: keras.optimizers.Optimizer, variable: keras.Variable) -> int:
    """The place of a trained variable among those that the optimizer was built with, also under a strategy."""
    return optimizer._get_variable_index(variable)


@contextmanager
def shared_objects() -> Iterator[None]:
    """Objects that a file has in several places, such as a rate's schedule, become one, as in `load_model` of Keras."""
    names = ("shared_objects/id_to_obj_map", "shared_objects/id_to_config_map")
    for name in names:
        global_state.set_global_attribute(name, {})
    try:
        yield
    finally:
        for name in names:
            global_state.set_global_attribute(name, None)
