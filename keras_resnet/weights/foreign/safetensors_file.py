"""safetensors: the library checks names, shapes and places before a value is read."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from safetensors import safe_open

from keras_resnet.weights.foreign.contents import Contents, Stored, checked, require

MOST_TENSORS = 100_000  # ResNet-1202 has 8,000
DTYPES = {
    **{f"F{bits}": f"float{bits}" for bits in (16, 32, 64)},
    **{f"I{bits}": f"int{bits}" for bits in (8, 16, 32, 64)},
    **{f"U{bits}": f"uint{bits}" for bits in (8, 16, 32, 64)},
    "BOOL": "bool",
}


@contextmanager
def contents(path: Path) -> Iterator[Contents]:
    with safe_open(path, framework="numpy") as file:
        arrays, names = {}, file.keys()
        require(len(names) <= MOST_TENSORS, f"{len(names):,} tensors")
        for name in names:
            told = file.get_slice(name)
            dtype = DTYPES.get(told.get_dtype(), told.get_dtype())
            arrays[name] = checked(name, Stored(tuple(told.get_shape()), dtype, partial(file.get_tensor, name)))
        yield Contents({}, arrays)
