"""The files from which runs and searches go on, and what to do where one of them cannot be read."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from keras_resnet.checks import ReportedError
from keras_resnet.files.paths import BEFORE, kept

AGAIN = "Delete it: the same command with --resume writes it again."
REMEDIES = {  # of a file that cannot be read
    "run.json": AGAIN,
    "search.json": AGAIN,
    "record.json": "Delete it: --resume runs that trial again.",
    "trial.json": "Start the search again in another folder.",
    "oracle.json": "Start the search again in another folder.",
    "checkpoint.npz": "Delete it: --resume trains from the first epoch.",
    "history.csv": "Start the run again in another folder.",
    "best.weights.h5": "Start the run again in another folder.",
    "card.json": "Delete it: --resume measures and exports the trained network again.",
}
T = TypeVar("T")


class DamagedError(ReportedError, ValueError):
    """A file of a run or of a search is empty, cut off or something else."""

    def __init__(self, what: str, remedy: str):
        super().__init__(f"{what}. {remedy}")
        self.what = what


def read_state(path: Path, read: Callable[[Path], T]) -> T:
    """What `read` makes of the file.

    Raises:
        DamagedError: If it cannot: which file, what is wrong, and what to do.
    """
    try:
        return read(path)
    except DamagedError:
        raise
    except Exception as error:
        remedy = REMEDIES[path.name.replace(BEFORE, "")]
        raise DamagedError(f"{path} cannot be read ({problem(path, error)})", remedy) from error


def read_last(path: Path, read: Callable[[Path], T]) -> tuple[T, str]:
    """What `read` makes of the file, or where that cannot be read, of the one before it; and then why.

    Raises:
        DamagedError: If neither can be read. It is about the file itself.
    """
    if not path.exists():  # killed between the two renames
        return read_state(kept(path), read), ""
    try:
        return read_state(path, read), ""
    except DamagedError as error:
        try:
            return read_state(kept(path), read), error.what
        except DamagedError:
            raise error from error.__cause__


def problem(path: Path, error: Exception) -> str:
    """In a few words, on one line."""
    if path.is_file() and path.stat().st_size == 0:
        return "it is empty"
    missing = f"it has no {error}" if isinstance(error, KeyError) else str(error)
    return " ".join(missing.split()) or type(error).__name__


def read_json(path: Path) -> dict[str, Any]:
    """An object of JSON."""

    def read(path: Path) -> dict[str, Any]:
        record = json.loads(path.read_bytes())
        if not isinstance(record, dict):
            raise TypeError("it is not a JSON object")
        return record

    return read_state(path, read)
