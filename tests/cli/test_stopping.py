"""Commands that are stopped say how to go on, those that would write into the same folder are refused."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from keras_resnet.cli import main
from keras_resnet.experiment import folder as folders
from keras_resnet.files import LOCK, writing

BEFORE = Path(__file__).parent.parent / "before_folders"
SMALL = ["--stages", "[[4]]", "--stem-filters", "4", "--set", "epochs=2", "steps_per_epoch=2"]
HELD = "import sys, time; from pathlib import Path; from keras_resnet.files import locked\n"
HELD += "with locked(Path(sys.argv[1])): print(flush=True); time.sleep(60)"


def invoked(*arguments):
    return CliRunner().invoke(main, arguments, prog_name="keras-resnet")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def held(request):
    """A folder into which another process writes."""
    with subprocess.Popen([sys.executable, "-c", HELD, request.param], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        yield request.param
        process.kill()


COMMANDS = {
    "export": (["export", "plain.keras", "held"], "held"),
    "search": (["search", "--output", "held", "--resume"], "held"),
    "train": (["train", *SMALL, "--output", "held", "--resume"], "held/resnet20-digits"),
}


@pytest.mark.parametrize(("arguments", "held"), COMMANDS.values(), ids=COMMANDS, indirect=["held"])
def test_a_second_command_in_a_folder_is_refused_in_one_line(arguments, held):
    shutil.copy(BEFORE / "plain.keras", "plain.keras")
    before = os.listdir(held)
    result = invoked(*arguments)
    assert result.exit_code == 1
    (line,) = [line for line in result.stderr.splitlines() if line]
    assert line.startswith(f"Error: {held} is in use by process ")
    assert os.listdir(held) == before


@pytest.mark.parametrize("command", ["export", "search"])
def test_it_is_refused_before_tensorflow_starts(command, tmp_path):
    """In a process of its own, in which nothing is imported."""
    shutil.copy(BEFORE / "plain.keras", "plain.keras")
    code = "import sys; from keras_resnet.cli import main\ntry: main()\nfinally: assert 'keras' not in sys.modules"
    with subprocess.Popen([sys.executable, "-c", HELD, "held"], stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        refused = subprocess.run([sys.executable, "-c", code, *COMMANDS[command][0]], capture_output=True, text=True)
        holder.kill()
    assert refused.returncode == 1
    assert refused.stderr.startswith("Error: held is in use by process ")


GO_ON = "To go on after the last whole epoch: keras-resnet train --stages '[[4]]' --stem-filters 4 --set epochs=2"


@pytest.fixture
def interruptible():
    """Python ignores SIGINT where it was started in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize(("stop", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("resume", [[], ["--resume"]])
def test_a_training_that_is_stopped_says_how_to_go_on(stop, code, resume, monkeypatch):
    monkeypatch.setattr(folders, "fit", lambda *_, **__: os.kill(os.getpid(), stop) or time.sleep(9))
    handler = signal.getsignal(signal.SIGTERM)
    result = invoked("train", *SMALL, *resume)
    assert result.exit_code == code
    assert result.stderr.endswith(f"{GO_ON} steps_per_epoch=2 --resume\n")
    assert signal.getsignal(signal.SIGTERM) is handler
    assert os.listdir("saved_models/resnet20-digits") == ["run.json"]


def test_another_command_that_is_stopped_says_that_nothing_is_half_written(monkeypatch):
    shutil.copy(BEFORE / "plain.keras", "plain.keras")
    monkeypatch.setattr("keras_resnet.serving.export.export", lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM))
    result = invoked("export", "plain.keras", "out")
    assert (result.exit_code, result.stderr) == (143, "\nTerminated. Nothing is left half written.\n")
    assert os.listdir() == ["plain.keras"]


class TestUnfinishedRuns:
    @pytest.fixture(autouse=True)
    def _killed_at_once(self, monkeypatch):
        """Every training is, before its first epoch."""

        def killed(*_, **__):
            raise KeyboardInterrupt

        monkeypatch.setattr(folders, "fit", killed)

    def test_a_command_without_resume_says_that_there_is_one(self):
        assert "unfinished" not in invoked("train", *SMALL).stdout
        said = invoked("train", *SMALL).stdout
        assert "saved_models/resnet20-digits has an unfinished run. --resume goes on with it." in said
        assert "into saved_models/resnet20-digits-2" in said

    def test_one_that_has_ended_is_none(self):
        invoked("train", *SMALL)
        Path("saved_models/resnet20-digits/card.json").touch()
        assert "unfinished" not in invoked("train", *SMALL).stdout

    def test_resume_goes_on_with_the_run_of_these_settings(self):
        for seed in (1, 2, 3):
            invoked("train", *SMALL, "--seed", str(seed))
        assert "into saved_models/resnet20-digits-2:" in invoked("train", *SMALL, "--seed", "2", "--resume").stdout
        assert "into saved_models/resnet20-digits:" in invoked("train", *SMALL, "--seed", "1", "--resume").stdout
        assert "`resnet20-digits`" not in (other := invoked("train", *SMALL, "--seed", "4", "--resume")).stdout
        assert other.exit_code == 2

    @pytest.mark.parametrize("content", ["", '{"run": {"netwo', "[]", '{"run": {"network": "resnet20"}}'])
    def test_a_damaged_run_json_is_named_and_what_to_do_is_true(self, content):
        invoked("train", *SMALL)
        path = Path("saved_models/resnet20-digits/run.json")
        whole = json.loads(path.read_text())
        path.write_text(content)
        result = invoked("train", *SMALL, "--resume")
        assert result.exit_code == 1
        (line,) = result.stderr.splitlines()
        assert line.startswith(f"Error: {path} cannot be read (")
        assert line.endswith("Delete it: the same command with --resume writes it again.")
        path.unlink()
        assert invoked("train", *SMALL, "--resume").exit_code == 130
        assert json.loads(path.read_text()) == whole

    def test_a_damaged_card_is_named(self):
        invoked("train", *SMALL)
        Path("saved_models/resnet20-digits/card.json").touch()
        result = invoked("train", *SMALL, "--resume")
        assert "saved_models/resnet20-digits/card.json cannot be read (it is empty). Delete it" in result.stderr

    def test_locks_are_gone(self):
        invoked("train", *SMALL)
        assert not list(Path().rglob(f"{LOCK}*"))


def test_a_figure_that_comes_meanwhile_is_named_by_its_option(monkeypatch):
    pytest.importorskip("matplotlib")
    shutil.copy(BEFORE / "plain.keras", "plain.keras")
    renamed = writing.renamed

    def late(source, target, how):
        target.write_text("theirs")
        return renamed(source, target, how)

    monkeypatch.setattr(writing, "renamed", late)
    result = invoked("inspect", "drawing", "plain.keras", "--output", "a.png")
    assert "Invalid value for '--output': expected a path where nothing else was written meanwhile" in result.stderr
    assert Path("a.png").read_text() == "theirs"
