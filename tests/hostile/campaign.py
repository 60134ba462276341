"""Tries hostile files one by one: `python tests/hostile/campaign.py 2000` prints how each kind of them ended.

The assertion: our error, which names the file, or success with the right values; never another exception, a hang, a
read outside of the file, or memory beyond the bound.
"""

import json
import re
import shutil
import sys
import time
import warnings
from collections import Counter
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))  # where it is run as a script

import keras_resnet
from hostile.attacks import ATTACKS, write_secrets
from hostile.sound import FORMATS, checkpoint, named_for, network, write_all
from keras_resnet.checks import ArgumentError, ReportedError
from keras_resnet.weights import foreign

MEGABYTE = 2**20
SECONDS = 20  # to end in, also where the file hangs its library
SPARE = 256 * MEGABYTE  # of memory, beside three times the weights
CHECKED = (".keras", ".pth", ".npz")  # formats with a checksum of the values
SECRET = 1234.5
RAW_CONTROLS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f\x9b\u202e]")


class Outcome(NamedTuple):
    name: str
    use: str  # what read it
    ended: str  # "refused" or "loaded"
    said: str
    seconds: float
    memory: int  # bytes, above that before


# Random damage, of which each file has its own


def flipped(random, content, other):
    for place in random.integers(0, len(content), random.integers(1, 9)):
        content[place] ^= 1 << int(random.integers(0, 8))
    return content


def overwritten(random, content, other):
    start, size = int(random.integers(0, len(content))), int(random.integers(1, 65))
    content[start : start + size] = random.bytes(min(size, len(content) - start))
    return content


def cut_off(random, content, other):
    return content[: int(random.integers(0, len(content)))]


def cut_out(random, content, other):
    start = int(random.integers(0, len(content)))
    return content[:start] + content[start + int(random.integers(1, 200)) :]


def zeroed(random, content, other):
    start, size = int(random.integers(0, len(content))), int(random.integers(1, 2000))
    size = min(size, len(content) - start)
    content[start : start + size] = bytes(size)
    return content


def filled(random, content, other):
    start, size = int(random.integers(0, len(content))), int(random.integers(1, 9))
    size = min(size, len(content) - start)
    content[start : start + size] = b"\xff" * size
    return content


def doubled(random, content, other):
    start = int(random.integers(0, len(content)))
    piece = content[start : start + int(random.integers(1, 2000))]
    return content[:start] + piece + content[start:]


def spliced(random, content, other):
    return content[: int(random.integers(0, len(content)))] + other[int(random.integers(0, len(other))) :]


def in_the_first_bytes(random, content, other):
    """Where formats keep what the rest means."""
    end = min(len(content), 2048)
    for place in random.integers(0, end, random.integers(1, 5)):
        content[place] = int(random.integers(0, 256))
    return content


def in_the_last_bytes(random, content, other):
    for place in random.integers(max(0, len(content) - 2048), len(content), random.integers(1, 5)):
        content[place] = int(random.integers(0, 256))
    return content


DAMAGES = (
    *(flipped, overwritten, cut_off, cut_out, zeroed, filled, doubled, spliced),
    *(in_the_first_bytes, in_the_last_bytes),
)


class Range:
    """A folder of sound files, and the network that they fit."""

    def __init__(self, folder):
        self.folder = Path(folder)
        (self.folder / "sound").mkdir()
        self.model, self.sound = write_all(self.folder / "sound")
        write_secrets(self.folder)
        self.right = [np.array(weight) for weight in self.model.weights]
        self.other = network(seed=1)
        self.before = [np.array(weight) for weight in self.other.weights]
        self.weights = sum(array.nbytes for array in self.right)

    def attacked(self, name):
        suffix, change = ATTACKS[name]
        path = named_for(suffix, self.folder)
        shutil.copy(self.sound[suffix], path)
        change(path)
        return path

    def damaged(self, number):
        """The file with this number: it is always the same."""
        random = np.random.default_rng([7, number])
        suffix = FORMATS[number % len(FORMATS)]
        damage = DAMAGES[number // len(FORMATS) % len(DAMAGES)]
        contents = [bytearray(self.sound[key].read_bytes()) for key in (suffix, str(random.choice(FORMATS)))]
        path = named_for(suffix, self.folder)
        path.write_bytes(damage(random, *contents))
        return f"{damage.__name__}{suffix}", path

    def tried(self, name, path):
        """How it ended. Raises an AssertionError, or whatever is raised, where that is not as it should be."""
        return [self.one(name, path, use) for use in USES[path.suffix]]

    def one(self, name, path, use):
        for variable, value in zip(self.other.weights, self.before, strict=True):
            variable.assign(value)
        before, start = memory_now(), time.monotonic()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                values = use(self, path)
        except (ArgumentError, ReportedError) as error:
            ended, said = "refused", str(error)
            assert path.name in said, said
            assert not RAW_CONTROLS.search(said), ascii(said)
            unchanged = zip(self.other.weights, self.before, strict=True)
            assert all(np.array_equal(variable, value) for variable, value in unchanged)
        else:
            ended, said = "loaded", ""
            self.expect_right(values, exactly=path.suffix in CHECKED and name not in ATTACKS)
        outcome = Outcome(name, use.__name__, ended, said, time.monotonic() - start, memory_peak() - before)
        assert outcome.seconds < SECONDS, outcome
        assert outcome.memory < 3 * self.weights + SPARE, outcome
        return outcome

    def expect_right(self, values, exactly):
        assert len(values) == len(self.right)
        for value, right in zip(values, self.right, strict=True):
            assert value.shape == right.shape
            assert np.isfinite(value).all()
            assert not (value == SECRET).any()
            assert np.array_equal(value, right) or not exactly


def arrays(model):
    return [np.array(weight) for weight in model.weights]


def load_weights(tried, path):
    return arrays(keras_resnet.load_weights(tried.other, path))


def load_model(tried, path):
    return arrays(keras_resnet.load_model(path))


def resume(tried, path):
    """As a training does: the state, and then the variables."""
    checkpoint(path, tried.other, writer=False).on_train_begin()
    return arrays(tried.other)


USES = {  # suffix of a path -> what reads it
    **dict.fromkeys((".h5", ".safetensors", ".pth", ".th", ".caffemodel"), (load_weights,)),
    ".keras": (load_weights, load_model),
    ".npz": (resume,),
}


def memory_now():
    """Resident, and the peak begins anew."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return status("VmRSS")


def memory_peak():
    return status("VmHWM")


def status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def main(count):
    foreign.SECONDS = 10
    with TemporaryDirectory() as folder:
        tried, outcomes = Range(folder), []
        for name in ATTACKS:
            outcomes += tried.tried(name, tried.attacked(name))
        for number in range(count - len(ATTACKS)):
            outcomes += tried.tried(*tried.damaged(number))
    print(json.dumps(Counter(f"{Path(o.name).suffix} {o.use} {o.ended}" for o in outcomes), indent=1, sort_keys=True))
    print(f"{count} files, the slowest in {max(o.seconds for o in outcomes):.1f} s")
    print(f"most memory {max(o.memory for o in outcomes) / MEGABYTE:.0f} MB above that before")


if __name__ == "__main__":
    main(int(sys.argv[1]))
