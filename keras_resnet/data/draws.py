"""Random numbers for a batch of images, without a state."""

from typing import Any

import tensorflow as tf


class Draws:
    """Random numbers for a batch, a function of (seed, step, how many were drawn before) alone.

    Args:
        seed: Of the run.
        step: Number of the batch in the run, an integer or a tensor.
        size: Examples in the batch of all workers together.
        rows: Which of them are this worker's: it gets those rows of what one worker would draw.

    >>> both = Draws(seed=0, step=7, size=4).uniform()
    >>> second = Draws(seed=0, step=7, size=4, rows=slice(2, 4)).uniform()
    >>> bool(tf.reduce_all(both[2:] == second))
    True
    """

    def __init__(self, seed: int, step: Any, size: int, rows: slice = slice(None)):
        pair = tf.stack([tf.cast(seed, tf.int64), tf.cast(step, tf.int64)])
        self.key = tf.random.stateless_uniform((), pair, None, None, tf.int64)  # in 32 bits, steps would share a key
        self.size, self.rows, self.drawn = size, rows, 0

    def _next(self) -> tf.Tensor:
        """The seed of the next draw."""
        self.drawn += 1
        return tf.stack([self.key, self.drawn])

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0, dtype: Any = tf.float32) -> tf.Tensor:
        """Numbers in [low, high), [rows, *shape]."""
        return tf.random.stateless_uniform((self.size, *shape), self._next(), low, high, dtype)[self.rows]

    def normal(self, *shape: int, stddev: float = 1.0) -> tf.Tensor:
        """Numbers around 0, [rows, *shape]."""
        return tf.random.stateless_normal((self.size, *shape), self._next(), stddev=stddev)[self.rows]

    def chosen(self, rate: float) -> tf.Tensor:
        """True for a share of the rows, [rows]."""
        return self.uniform() < rate

    def beta(self, alpha: float) -> tf.Tensor:
        """Numbers of Beta(alpha, alpha), [rows]: X / (X + Y) for X and Y of Gamma(alpha)."""
        return tf.sigmoid(self._log_gamma(alpha) - self._log_gamma(alpha))[self.rows]

    def _log_gamma(self, alpha: float) -> tf.Tensor:
        """log of Gamma(alpha) = Gamma(alpha + 1) U^(1 / alpha), which for small alpha is below the least float."""
        gamma = tf.random.stateless_gamma((self.size,), self._next(), alpha + 1.0)
        uniform = tf.random.stateless_uniform((self.size,), self._next())
        return tf.math.log(gamma) + tf.math.log1p(-uniform) / alpha


def per_image(values: Any) -> tf.Tensor:
    """[n] as [n, 1, 1, 1]."""
    return tf.reshape(values, (-1, 1, 1, 1))


def per_channel(fill: Any, images: tf.Tensor) -> tf.Tensor:
    """A number, or one for every channel, as [c]."""
    return tf.broadcast_to(tf.cast(fill, tf.float32), images.shape[-1:])
