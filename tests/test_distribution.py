"""What is built and installed is whole: for an environment that has the wheel, and not this folder (`.ci/run`)."""

import os
import sysconfig
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

import pytest

import keras_resnet

ROOT = Path(__file__).parent.parent
BUILT = Path(os.environ.get("KERAS_RESNET_DIST", ""))  # the folder of the wheel and the sdist
if not list(BUILT.glob("*.whl")):
    pytest.skip("KERAS_RESNET_DIST names no folder with a wheel", allow_module_level=True)


def sources(folder):
    """The files below it that are not made by running them."""
    paths = (path.relative_to(ROOT) for path in (ROOT / folder).rglob("*") if path.is_file())
    return {path.as_posix() for path in paths if not {"__pycache__", ".DS_Store"} & set(path.parts)}


def files_of_the_wheel():
    with zipfile.ZipFile(*BUILT.glob("*.whl")) as wheel:
        return {name for name in wheel.namelist() if ".dist-info/" not in name}


def files_of_the_sdist():
    with tarfile.open(*BUILT.glob("*.tar.gz")) as sdist:
        return {str(PurePosixPath(*PurePosixPath(name).parts[1:])) for name in sdist.getnames()}


def test_the_package_is_the_installed_one():
    assert Path(keras_resnet.__file__).is_relative_to(sysconfig.get_path("purelib"))


def test_the_wheel_has_the_package_and_nothing_else():
    assert files_of_the_wheel() == sources("keras_resnet")


@pytest.mark.parametrize("kind", ["py.typed", "__init__.pyi", "data/digits/", "weights/trained/"])
def test_the_wheel_has_what_is_no_code(kind):
    assert [name for name in files_of_the_wheel() if name.startswith(f"keras_resnet/{kind}")]


def test_the_sdist_has_what_the_tests_read():
    for folder in ("keras_resnet", "tests", "docs", "examples", "benchmarks"):
        assert sources(folder) <= files_of_the_sdist()
    assert {"README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml", ".ci/run"} <= files_of_the_sdist()
