"""Networks of shapes without values: to be counted and looked at, in a fraction of the time."""

from keras_resnet.graph.initialization import without_weights, zero_kernels


def undrawn(builder, *arguments, **settings):
    """What the builder builds, with variables that have no values. Tracing it draws none, either."""
    with without_weights(), zero_kernels():
        return builder(*arguments, **settings)
