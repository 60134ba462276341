"""python -m keras_resnet.run SCRIPT [ARGUMENTS]: runs the script where TensorFlow is fast on CPUs.

It sets `TF_ENABLE_ONEDNN_OPTS` and the numbers of threads before the script imports TensorFlow.
"""

import os
import runpy
import sys

from keras_resnet.kernels import onednn


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit("Usage: python -m keras_resnet.run SCRIPT [ARGUMENTS]")
    onednn.prepare()
    del sys.argv[0]
    if not sys.flags.safe_path:
        sys.path[0] = os.path.dirname(os.path.realpath(sys.argv[0]))  # as for `python SCRIPT`
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
