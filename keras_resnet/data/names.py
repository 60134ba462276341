"""What the name of data stands for: the digits, a folder or a TFDS set. It needs no TensorFlow."""

import os
import re
from pathlib import Path
from typing import Literal

from keras_resnet.checks import expect_known
from keras_resnet.files import expect_data_folder, is_path


def kind_of(data: str | os.PathLike, data_dir: str | Path | None = None) -> Literal["digits", "folder", "tfds"]:
    """What the name stands for. The name of a TFDS set means that set, also beside a folder of that name.

    Args:
        data: As `load_data` takes it.
        data_dir: Where TFDS keeps its sets.

    Raises:
        ArgumentError: If there is no such folder and no such set.
    """
    if data == "digits":
        return "digits"
    name = os.fspath(data)
    if isinstance(data, os.PathLike) or is_path(name) or (os.sep in name and Path(name).is_dir()):
        expect_data_folder(name)
        return "folder"
    known, word = sets(data_dir), re.split("[/:]", name)[0]
    if word not in known and (os.sep in name or Path(name).is_dir()):
        expect_data_folder(Path(name).absolute())
        return "folder"
    expect_known("data", {"digits", *known}, word, "a folder that exists, or the name of a TFDS set")
    return "tfds"


def sets(data_dir: str | Path | None) -> set[str]:
    """Names of TFDS sets: those TFDS knows how to prepare, and those prepared in the folder."""
    import tensorflow_datasets as tfds  # takes a second to import

    folder = Path(data_dir or tfds.core.constants.DATA_DIR).expanduser()
    infos = [*folder.glob("*/*/dataset_info.json"), *folder.glob("*/*/*/dataset_info.json")]  # set/[config/]version
    prepared = {info.relative_to(folder).parts[0] for info in infos}
    return prepared | set(tfds.list_builders(with_community_datasets=False))
