"""Draws the figures of docs/inspect.md by its own commands: `python docs/figures.py`, from the root of a clone.

A figure that exists is left as it is: delete it to draw it again. Arguments are added to the commands that read data,
such as `--data-dir DIR`.
"""

import re
import shlex
import sys
from pathlib import Path

from keras_resnet.cli import main

PAGE = Path(__file__).parent / "inspect.md"

if __name__ == "__main__":
    Path("docs/figures").mkdir(parents=True, exist_ok=True)
    for command in re.findall(r"^keras-resnet (inspect .*)$", PAGE.read_text(), re.MULTILINE):
        arguments = shlex.split(command)
        if Path(arguments[-1]).exists():
            continue
        print(f"keras-resnet {command}", flush=True)
        main(arguments + (sys.argv[1:] if "--data" in arguments else []), "keras-resnet", standalone_mode=False)
