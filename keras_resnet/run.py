"""python -m keras_resnet.run SCRIPT [ARGUMENTS]: the script under what TensorFlow leaves off on CPUs.

`environment.prepare` has replaced this process before Python comes here, unless there is no script.
"""

import sys

if __name__ == "__main__":
    print(f"Usage: {(__doc__ or '').partition(':')[0]}", file=sys.stderr)  # a profiler swallows the exit's message
    sys.exit(1)
