"""Mistakes that users type: each is answered in one line, in the words that were typed (docs/reliability.md)."""

import os
import shlex
import warnings
from pathlib import Path

import click
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

import keras_resnet
from keras_resnet import DenseNetConfig, FractalNetConfig, Recipe, ResNetConfig
from keras_resnet.cli import main
from keras_resnet.cli.options import Command
from keras_resnet.experiment import Run

BEFORE = Path(__file__).parent.parent / "before_folders"
TRAIN = "--set epochs=1 steps_per_epoch=1"

COMMANDS = {  # what is typed, and words of the answer
    "lsit": "No such command 'lsit'",
    "summary resnet51": "'NAME': expected a known name; the nearest are 'resnet56', 'resnet50'",
    "summary resnet50 --groups 3": "'--groups': expected a divisor of the bottleneck's width 64. Received: 3",
    "summary resnet50 --gruops 3": "--groups",
    "summary resnet50 --stem cifra": "'--stem'",
    "summary resnet20 --size 3": "'--size': expected at least 8 pixels",
    "summary resnet20 --classes 0": "'--classes'",
    "summary resnet20 --stages 16": "'--stages'",
    "summary resnet20 --stages [[16],[8]]": "'--shortcut': expected one of none, B, C, D",
    "summary plain20 --zero-init": "--shortcut none",
    "summary resnet20 --groups 2": "1 where --branch basic",
    "summary densenet121 --shortcut A": "'--shortcut': expected no value, for a densenet has none",
    "summary fractalnet20 --columns 1000000000000000000000000000000": "'--columns'",
    "summary resnet20 --stem-filters 1099511627776": "'--stem-filters'",
    f"summary resnet20 --stages [{','.join(['[16]'] * 40)}]": "at most 10 stages",
    "train resnet20 epochs": "'epochs' is not KEY=VALUE",
    "train --set epochs=0": "'--set epochs': expected an integer, at least 1",
    "train --set epoch=3": "'epochs'",
    "train --set epochs=1 epochs=2": "epochs is given twice",
    "train --set drops=0.5": "'--set drops'",
    "train --set batch_size=5000": "'--set batch_size': expected at most the 1295 training images",
    "train --set augment={'flop':1}": "'--set augment': expected a known name; the nearest are 'flip'",
    "train --set network={'nonsense':1}": "'--set network'",
    "train --recipe he2051_cifar": "'--recipe': expected a known name; the nearest are 'he2016_cifar', 'he2015_cifar'",
    "train --freeze stage9": "'--freeze': expected one of stem, stage1, stage2, stage3, head. Received: 'stage9'",
    f"train {TRAIN} --freeze stem": "'--set epochs': expected at least 2",
    "train --size 4": "'--size': expected at least 8 pixels",
    "train densenet121": "'--size': expected (height, width, channels), a height and width of at least 29 pixels",
    "train --validation 2": "'--validation': expected data without a validation split",
    "train --weights missing.pth": "'--weights': expected 'imagenet', ",
    "train --weights imagenet": "'--weights': expected another source: ",
    "train --strategy multi_worker": "'--strategy': expected TF_CONFIG or SLURM",
    "train --output /dev/null/x": "'--output': expected a path that can be written to (Not a directory)",
    "train --data ./missing": "'--data': expected a folder that exists",
    "train --data photoss": "'--data': expected a folder that exists, or the name of a TFDS set; the nearest are",
    "train --data minst": "'mnist'",
    "train --data photos": "at least two, found: ants",
    "train --data pictures": "--on-error skip leaves the others out",
    "check pictures/missing": "'DATA': expected a folder that exists",
    "evaluate plain.keras --data digits --split testing": "'--split'",
    "evaluate note.txt --data digits": "'MODEL': expected a `.keras` file",
    "evaluate plain.keras --data digits": "'--data': expected images of the model's 3 channels",
    "predict plain.keras picture.png": "'--preprocessing': expected a keras_resnet.Preprocessing, or one of 'imagenet'",
    "predict note.keras picture.png": "'MODEL'",
    "predict cut.keras picture.png": "'MODEL'",
    "predict flipped.keras picture.png": "'MODEL': expected a whole `.keras` file",
    "predict plain.keras half.jpg --preprocessing unit": "'IMAGES': expected a JPEG, PNG, GIF or BMP",
    "predict plain.keras missing.png": "'missing.png' does not exist",
    "export plain.keras .": "or --overwrite. Received: 1",
    "export plain.keras out --version 0": "'--version': expected a number from 1, or 'next'",
    "export plain.keras out --format tflite": "'litert'",
    "convert imagenet resnet20 out.keras": "'SOURCE': expected another source",
    "convert imagenet resnet50 out.h5": "'OUT': expected a path in a folder, that ends in .keras",
    "search --patience 0": "'--patience': expected an integer, at least 1. Received: 0",
    "search --set patience=0": "'--set patience': expected an integer, at least 1",
    "search --trials 0": "'--trials': expected an integer, at least 1",
    "search --output .": "'--output': expected a path where nothing exists yet, or --resume",
    "inspect drawing plain.keras --output a.jpg": "'--output': expected a path that ends in one of '.png'",
    "inspect lesion plain.keras --data digits --output a.png --preprocessing unti": "'--preprocessing'",
    "inspect cam plain.keras --output a.png": "'--image': expected either --image or --data",
}

SMALL = dict(stages=((8,),), stem_filters=8)
CALLS = {  # what is called, and words of the answer
    "ResNet18(num_classes=10)": (lambda: keras_resnet.ResNet18(num_classes=10), "did you mean `classes`"),
    "ResNet18(pretrained=True)": (lambda: keras_resnet.ResNet18(pretrained=True), "did you mean `weights`"),
    "ResNet18(clases=10)": (lambda: keras_resnet.ResNet18(clases=10), "did you mean `classes`"),
    "ResNet18(10)": (lambda: keras_resnet.ResNet18(10), "`include_top`. Expected True or False"),
    "build('resnet-50')": (lambda: keras_resnet.build("resnet-50"), "'resnet50'"),
    "classes=10.0": (lambda: keras_resnet.build("resnet20", classes=10.0), "`classes`"),
    "input_shape=32": (lambda: keras_resnet.build("resnet20", input_shape=32), "(height, width, channels)"),
    "weights='imagnet'": (lambda: keras_resnet.build("resnet50", weights="imagnet"), "'imagenet'"),
    "drop_path=20": (lambda: ResNetConfig(**SMALL, drop_path=20), "`drop_path`. Expected a rate in [0, 1)"),
    "stages=(2, 2)": (lambda: ResNetConfig(stages=(2, 2)), "such as ((16, 16), (32,))"),
    "growth=2**40": (lambda: DenseNetConfig(stages=(2,), growth=2**40), "`growth`"),
    "columns=10**30": (lambda: FractalNetConfig(stages=(8,), columns=10**30), "`columns`"),
    "Recipe(epochs='10')": (lambda: Recipe(epochs="10"), "`epochs`"),
    "train(..., 'wnr')": (lambda: keras_resnet.train(None, "digits", "wnr"), "'wrn'"),
    "load_data('cifar11')": (lambda: keras_resnet.load_data("cifar11"), "'cifar10'"),
    "float images": (lambda: keras_resnet.load_data((np.zeros((4, 8, 8, 3)), np.arange(4))), "uint8"),
    "Run(seed=-1)": (lambda: Run(network="resnet20", data="digits", seed=-1), "`seed`"),
    "freeze until stage9": (lambda: keras_resnet.freeze(keras_resnet.ResNet20(), "stage9"), "`until`"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Good and bad files to name."""
    folder = tmp_path_factory.mktemp("mistakes")
    plain = (BEFORE / "plain.keras").read_bytes()
    middle = len(plain) // 2
    flipped = plain[:middle] + bytes(byte ^ 0x55 for byte in plain[middle : middle + 40]) + plain[middle + 40 :]
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype="uint8")
    jpeg, png = tf.io.encode_jpeg(noise).numpy(), tf.io.encode_png(noise).numpy()
    files = {
        "plain.keras": plain,
        "cut.keras": plain[:middle],
        "flipped.keras": flipped,
        "note.keras": b"no model",
        "note.txt": b"no model",
        "picture.png": png,
        "half.jpg": jpeg[: len(jpeg) // 2],
        "1/card.json": b"{}",
        "photos/ants/1.png": png,
        "pictures/ants/1.png": png,
        "pictures/ants/2.png": png,
        "pictures/bees/1.png": png,
        "pictures/bees/2.jpg": jpeg[: len(jpeg) // 2],
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("typed", COMMANDS)
def test_a_command_answers_in_the_words_that_were_typed(typed, folder, monkeypatch):
    monkeypatch.chdir(folder)
    before = sorted(folder.rglob("*"))
    result = CliRunner().invoke(main, shlex.split(typed.replace("'", '"')) if "{" not in typed else typed.split())
    assert isinstance(result.exception, SystemExit), result.exception
    *usage, answer = result.stderr.strip().splitlines()
    assert COMMANDS[typed] in answer
    assert answer.startswith("Error: ")
    assert not usage or usage[0].startswith("Usage: ")
    assert "argument `" not in answer
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("typed", CALLS)
def test_python_answers_with_arguments(typed):
    call, words = CALLS[typed]
    with pytest.raises(ValueError, match="argument `") as caught:
        call()
    assert words in str(caught.value)
    assert "--" not in str(caught.value)


def test_the_count_in_the_documentation_is_that_of_the_tables():
    page = (Path(__file__).parents[2] / "docs" / "reliability.md").read_text()
    assert f"{len(COMMANDS)} command lines and {len(CALLS)} Python calls" in page


TAKING_MODELS = """
predict {} picture.png --preprocessing unit
evaluate {} --data pictures --preprocessing unit
export {} out --preprocessing unit
convert {} resnet20 out.keras
train --weights {}
inspect drawing {} --output a.png
inspect cam {} --image picture.png --output a.png --preprocessing unit
inspect features {} --image picture.png --output a.png --preprocessing unit
inspect responses {} --data digits --output a.png --preprocessing unit
""".strip().splitlines()


@pytest.mark.parametrize("model", ["cut.keras", "flipped.keras", "note.keras"])
@pytest.mark.parametrize("command", TAKING_MODELS)
def test_a_damaged_model_is_one_line_in_every_command(command, model, folder, monkeypatch):
    monkeypatch.chdir(folder)
    before = sorted(folder.rglob("*"))
    result = CliRunner().invoke(main, command.format(model).split())
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.stderr.startswith("Error: Invalid value for ")
    assert len(result.stderr.strip().splitlines()) == 1
    assert model in result.stderr
    assert sorted(folder.rglob("*")) == before


# Not a user's mistake


def test_a_bug_shows_its_traceback(monkeypatch):
    def broken(*_):
        return 1 / 0

    monkeypatch.setattr("keras_resnet.cli.networks.counted", broken)
    result = CliRunner().invoke(main, ["list", "resnet20", "--count"])
    assert isinstance(result.exception, ZeroDivisionError)


def test_a_loss_that_is_not_finite_is_no_bug(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    command = f"train --stages [[16]] {TRAIN} lr=1e30 steps_per_epoch=4".replace(" steps_per_epoch=1", "")
    result = CliRunner().invoke(main, command.split())
    assert isinstance(result.exception, SystemExit), result.exception
    assert "Error: The loss was not a finite number in epoch 1" in result.stderr


@pytest.mark.parametrize("backend", ["torhc", "torch"])
def test_a_backend_that_is_not_there_is_named(backend, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", backend)
    monkeypatch.setattr("keras_resnet.cli.start.find_spec", lambda name: None)
    for name in ("keras", "tensorflow"):
        monkeypatch.delitem(os.sys.modules, name, raising=False)
    result = CliRunner().invoke(main, ["summary", "resnet20"])
    assert "`KERAS_BACKEND`. Expected a backend that is installed" in result.stderr


@click.command(cls=Command)
@click.option("--resume", is_flag=True)
def warning(resume):
    warnings.warn("there is one, for `resume=True`", stacklevel=1)
    warnings.warn("of a library", FutureWarning, stacklevel=1)


def test_a_warning_is_told_in_one_line_without_the_place_in_the_code():
    with pytest.warns(FutureWarning, match="of a library"):
        assert CliRunner().invoke(warning).stderr == "Warning: there is one, for --resume\n"
