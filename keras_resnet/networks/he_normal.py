"""Large kernels drawn fast, from the distribution of Keras' `HeNormal`."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from math import erf, prod, sqrt
from typing import Any

import numpy as np
from keras import KerasTensor, initializers, layers, ops

LARGE = 2**16  # values: Keras draws smaller kernels, so that seeded ResNets for CIFAR start as they always did
PIECE = 2**15  # values: 128 KiB, which stay in a core's cache
ALIGNED = 64  # bytes, so that TensorFlow takes an array over and does not copy it
WITHIN_2 = erf(sqrt(2))  # share of a normal distribution within two standard deviations, where Keras cuts it off
STDDEV_WITHIN_2 = 0.87962566103423978  # of what is left of the standard normal distribution

# Giles 2010, Approximating the erfinv function: for single precision, near the middle
ERFINV_1, *ERFINV = (2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087)
ERFINV += (-0.00125372503, -0.00417768164, 0.246640727, 1.50140941)


def called(layer: layers.Layer, x: KerasTensor) -> KerasTensor:
    """What a new layer makes of x. Its kernel is drawn here; its file names Keras' initializer."""
    stock = layer.kernel_initializer
    layer.kernel_initializer = partial(kernel, stock)
    y = layer(x)
    layer.kernel_initializer = stock
    return y


def kernel(stock: initializers.Initializer, shape: Sequence[int], dtype: Any = None) -> Any:
    """As the stock initializer makes it, or another one of its distribution."""
    if prod(shape) < LARGE or not isinstance(stock, initializers.HeNormal):
        return stock(shape, dtype=dtype)
    stddev = sqrt(2 / prod(shape[:-1])) / STDDEV_WITHIN_2
    return ops.convert_to_tensor(truncated_normal(prod(shape), stddev, stock.seed).reshape(shape), dtype)


def truncated_normal(size: int, stddev: float, seed: int) -> np.ndarray:
    """Normal values of mean 0 within two standard deviations: in pieces of their own seeds, on all cores."""
    values = aligned(size)
    starts = range(0, size, PIECE)
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda start: fill(values[start : start + PIECE], stddev, (seed, start)), starts))
    return values


def aligned(size: int) -> np.ndarray:
    memory = np.empty(size + ALIGNED // 4, np.float32)
    start = -memory.ctypes.data % ALIGNED // 4
    return memory[start : start + size]


def fill(values: np.ndarray, stddev: float, seed: Sequence[int]) -> None:
    """stddev sqrt(2) erfinv(u), for uniform u. In place, which is twice as fast."""
    u = np.random.Generator(np.random.SFC64(seed)).random(values.size, np.float32)
    u -= 0.5
    u *= 2 * WITHIN_2
    w = u * u
    np.subtract(1, w, out=w)
    np.log(w, out=w)
    np.subtract(-2.5, w, out=w)
    np.multiply(w, ERFINV_1, out=values)
    for coefficient in ERFINV[:-1]:
        values += coefficient
        values *= w
    values += ERFINV[-1]
    u *= sqrt(2) * stddev
    values *= u
