"""The commands `inspect`, and the page that shows their figures."""

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from keras_resnet import ResNetConfig, resnet
from keras_resnet.cli import main


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for name, shortcut in (("residual", "A"), ("plain", "none")):
        row = ResNetConfig(stem_filters=4, stages=((4, 4),), shortcut=shortcut)
        (folder / name).mkdir()
        resnet(row, classes=10, input_shape=(8, 8, 1)).save(folder / name / "model.keras")
    return folder


COMMANDS = {
    "responses": ["residual", "plain", "--data", "digits"],
    "gradients": ["residual", "plain", "--data", "digits"],
    "lesion": ["residual", "plain", "--data", "digits", "--count", "1", "--repeats", "1"],
    "paths": ["residual", "--data", "digits", "--repeats", "1"],
    "cam": ["residual", "--data", "digits", "--number", "5", "--class", "3"],
    "features": ["residual", "--data", "digits"],
    "drawing": ["residual"],
}


def run(what, files, output, *more):
    arguments = [
        str(files / word / "model.keras") if word in ("residual", "plain") else word for word in COMMANDS[what]
    ]
    read = ["--preprocessing", "unit"] if "--data" in arguments else []
    read += ["--images", "20"] if what in ("responses", "gradients", "lesion", "paths") else []
    return CliRunner().invoke(main, ["inspect", what, *arguments, *read, *more, "--output", str(output)])


@pytest.mark.parametrize("what", COMMANDS)
def test_commands_draw_and_print_what_they_find(what, files, tmp_path):
    result = run(what, files, tmp_path / "figure.png")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert ("stage1_block1" if what == "drawing" else "residual") in result.stdout


def test_every_command_is_tested():
    assert set(main.get_command(None, "inspect").commands) == set(COMMANDS)


@pytest.mark.parametrize("output", ["there.png", "figure.txt", "nowhere/figure.png"])
def test_a_figure_that_cannot_be_written_is_refused_at_once(output, files, tmp_path):
    (tmp_path / "there.png").write_text("mine")
    result = run("drawing", files, tmp_path / output)
    assert result.exit_code == 2
    assert "Invalid value for '--output'" in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["there.png"]
    assert (tmp_path / "there.png").read_text() == "mine"


def test_an_image_is_a_file_or_one_of_the_data(files, tmp_path):
    result = run("cam", files, tmp_path / "figure.png", "--image", str(files / "plain" / "model.keras"))
    assert result.exit_code == 2
    assert "either --image or --data" in result.output


PAGE = Path(__file__).parents[2] / "docs" / "inspect.md"


def test_every_figure_of_the_page_has_its_command():
    text = PAGE.read_text()
    commands = [shlex.split(line) for line in re.findall(r"^keras-resnet (inspect .*)$", text, re.MULTILINE)]
    outputs = [command[command.index("--output") + 1] for command in commands]
    assert re.findall(r"!\[.*?\]\((.*?)\)", text) == [output.removeprefix("docs/") for output in outputs]
    assert {command[1] for command in commands} == set(COMMANDS)
    for _, what, *rest in commands:
        known = {flag for option in main.get_command(None, "inspect").commands[what].params for flag in option.opts}
        assert {word for word in rest if word.startswith("--")} <= known
