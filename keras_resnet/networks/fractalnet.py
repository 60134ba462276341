"""FractalNet, a recursion whose joins average what residual blocks would sum (Larsson et al. 2017)."""

from collections import defaultdict
from collections.abc import Iterator
from itertools import count
from typing import Any, Unpack

import keras
from keras import KerasTensor, layers, ops

from keras_resnet.networks.arguments import Interface, expect_row
from keras_resnet.networks.families import FractalNetConfig
from keras_resnet.networks.layers import conv, dropout, norm_relu
from keras_resnet.networks.zoo import build

HEAD_POOL = layers.GlobalMaxPooling2D  # at 32x32 the paper's last 2x2 pool sees 2x2 pixels


@keras.saving.register_keras_serializable("keras_resnet")
class DrawColumns(layers.Layer):
    """One integer a sample: the only column to keep (global drop-path), or -1 (local). Drawn in training only."""

    def __init__(self, columns: int, share: float, seed: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.columns, self.share, self.seed = columns, share, seed
        self.random = keras.random.SeedGenerator(seed)

    def call(self, x: Any, training: bool | None = None) -> Any:
        shape = (ops.shape(x)[0],)
        if not training:
            return -ops.ones(shape, "int32")
        column = keras.random.randint(shape, 0, self.columns, seed=self.random)
        return ops.where(keras.random.uniform(shape, seed=self.random) < self.share, column, -1)

    def compute_output_spec(self, x: Any, training: bool | None = None) -> KerasTensor:
        return keras.KerasTensor((x.shape[0],), "int32")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "columns": self.columns, "share": self.share, "seed": self.seed}


@keras.saving.register_keras_serializable("keras_resnet")
class Join(layers.Layer):
    """The mean of its inputs, column by column; in training of those that drop-path leaves, at least one a sample."""

    def __init__(self, rate: float, seed: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.rate, self.seed = rate, seed
        self.random = keras.random.SeedGenerator(seed)

    def call(self, paths: list[Any], column: Any, training: bool | None = None) -> Any:
        stacked = ops.stack(paths, axis=1)
        if not training:
            return ops.mean(stacked, axis=1)
        weights = ops.cast(self.draw(column, len(paths)), stacked.dtype)
        weights = weights / ops.sum(weights, axis=1, keepdims=True)
        return ops.sum(stacked * ops.reshape(weights, (-1, len(paths), 1, 1, 1)), axis=1)

    def draw(self, column: Any, count: int) -> Any:
        """[N, count] of bool: the column where it joins here, else each input with probability 1 - rate."""
        shape = (ops.shape(column)[0], count)
        chance = keras.random.uniform(shape, seed=self.random)
        kept = (chance >= self.rate) | (chance == ops.max(chance, axis=1, keepdims=True))
        alone = ops.equal(ops.expand_dims(column, 1), ops.arange(count, dtype="int32"))
        return ops.where(ops.any(alone, axis=1, keepdims=True), alone, kept)

    def compute_output_spec(self, paths: list[Any], column: Any, training: bool | None = None) -> KerasTensor:
        return keras.KerasTensor(paths[0].shape, self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}

    def stock(self) -> layers.Layer:
        return layers.Average(name=self.name, dtype=self.dtype_policy)


def fractalnet(config: FractalNetConfig, *, name: str = "fractalnet", **interface: Unpack[Interface]) -> keras.Model:
    """The network of a row; `interface` is that of `keras_resnet.build`.

    >>> import keras_resnet
    >>> keras_resnet.fractalnet(keras_resnet.FractalNetConfig(stages=(4, 8), columns=2)).output.shape
    (None, 10)
    """
    expect_row(config, FractalNetConfig)
    return build(config, name=name, **interface)


def trunk(x: KerasTensor, config: FractalNetConfig) -> KerasTensor:
    column = DrawColumns(config.columns, config.global_share, name="draw_columns")(x) if config.drop_path else None
    for stage, filters in enumerate(config.stages):
        if stage:
            x = layers.MaxPooling2D(2, name=f"stage{stage + 1}_in_pool")(x)
        rate = config.dropout * stage / max(1, len(config.stages) - 1)
        x = fractal_block(x, filters, rate, column, config, f"stage{stage + 1}")
    return x


def fractal_block(
    x: KerasTensor, filters: int, rate: float, column: KerasTensor | None, config: FractalNetConfig, name: str
) -> KerasTensor:
    """join(f_C(x)), where f_1(x) = conv(x) and f_C+1(x) joins f_C(f_C(x)) and conv(x): figure 1."""
    numbers: dict[int | str, Iterator[int]] = defaultdict(lambda: count(1))

    def unit(x: KerasTensor, index: int) -> KerasTensor:
        unit_name = f"{name}_column{index + 1}_{next(numbers[index])}"
        return norm_relu(dropout(conv(x, filters, 3, unit_name), rate, unit_name), unit_name)

    def join(paths: list[KerasTensor]) -> KerasTensor:
        if len(paths) == 1:
            return paths[0]
        join_name = f"{name}_join{next(numbers['join'])}"
        if column is None:
            return layers.Average(name=join_name)(paths)
        return Join(config.drop_path, name=join_name)(paths, column)

    def fractal(x: KerasTensor, columns: int) -> list[KerasTensor]:
        """What the last join of f_C joins, a path a column, the deepest first."""
        if columns == 1:
            return [unit(x, 0)]
        return [*fractal(join(fractal(x, columns - 1)), columns - 1), unit(x, columns - 1)]

    return join(fractal(x, config.columns))
