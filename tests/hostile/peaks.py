"""Prints the most memory, in bytes, that a process took to read one of the files: `FORMAT PATH FORMAT PATH ...`."""

import resource
import sys
from pathlib import Path

from keras_resnet.weights import foreign

WANTED = 2**20  # bytes of an array, as those of the small network have at most

if __name__ == "__main__":
    for kind, path in zip(sys.argv[1::2], sys.argv[2::2], strict=True):
        try:
            file = foreign.declared(Path(path), kind)
            for _ in foreign.values(file, [name for name, array in file.arrays.items() if array.bytes <= WANTED]):
                pass
        except foreign.UnreadableError:
            continue
    print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
