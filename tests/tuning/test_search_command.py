"""The command `search`, killed, among workers and on several devices."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

import keras_resnet

SHORT = ["--max-macs", "200k", "--set", "epochs=3", "steps_per_epoch=3"]
COMMAND = [sys.executable, "-m", "keras_resnet", "search", *SHORT]


def environment(**more):
    return {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **more}


@pytest.mark.slow
class TestTheCommandSearch:
    def test_killed_and_resumed_repeats_no_trial_and_exports_the_best(self, tmp_path):
        trials = tmp_path / "searches" / "width_depth-digits" / "trials"
        arguments = [*COMMAND, "--trials", "3", "--resume"]
        process = subprocess.Popen(arguments, cwd=tmp_path, env=environment(), start_new_session=True)
        while not any('"COMPLETED"' in path.read_text() for path in trials.glob("*/record.json")):
            assert process.poll() is None
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        ended = [path for path in trials.glob("*/record.json") if '"COMPLETED"' in path.read_text()]
        before = {path: path.stat().st_mtime_ns for path in ended}
        done = subprocess.run(
            [*arguments, "--retrain"], cwd=tmp_path, env=environment(), capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert {path: path.stat().st_mtime_ns for path in before} == before
        records = json.loads((trials.parent / "trials.json").read_text())
        assert sum(known["status"] == "COMPLETED" for known in records) == 3
        assert all(known["macs"] <= 200_000 for known in records if known["status"] == "COMPLETED")
        (run,) = trials.parent.glob("retrained-*/*")
        card = keras_resnet.card(run / "model.keras")
        best = max((known for known in records if "score" in known), key=lambda known: known["score"])
        equals = [known["config"]["stages"] for known in records if known.get("score") == best["score"]]
        assert card.config["stages"] in equals
        assert card.metrics["accuracy"] == json.loads((run / "evaluation.json").read_text())["accuracy"]

    def test_a_chief_and_two_workers_share_a_search(self, tmp_path):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        shared = dict(KERASTUNER_ORACLE_IP="127.0.0.1", KERASTUNER_ORACLE_PORT=port)
        command = [*COMMAND, "--trials", "4", "--resume", "--max-macs", "400k"]
        piped = {"cwd": tmp_path, "text": True, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        processes = {
            name: subprocess.Popen(command, env=environment(KERASTUNER_TUNER_ID=name, **shared), **piped)
            for name in ("chief", "worker0", "worker1")
        }
        said = {name: process.communicate(timeout=900)[0] for name, process in processes.items()}
        assert all(process.returncode == 0 for process in processes.values()), said
        folder = tmp_path / "searches" / "width_depth-digits"
        records = json.loads((folder / "trials.json").read_text())
        assert sum(known["status"] == "COMPLETED" for known in records) == 4
        assert all("%" in said[worker] for worker in ("worker0", "worker1"))
        assert len(list(folder.glob("best-*/*/card.json"))) == 1

    def test_two_devices_share_a_trial(self, tmp_path):
        code = (
            "import tensorflow as tf; c = tf.config; two = [c.LogicalDeviceConfiguration()] * 2; "
            "c.set_logical_device_configuration(c.list_physical_devices('CPU')[0], two); "
            "from keras_resnet.cli import main; main()"
        )
        arguments = [sys.executable, "-c", code, "search", *SHORT, "--strategy", "mirrored", "--trials", "1"]
        process = subprocess.run(arguments, cwd=tmp_path, env=environment(), capture_output=True, text=True)
        assert process.returncode == 0, process.stderr
        assert "2 replicas on 1 worker" in process.stdout
        (run,) = (tmp_path / "searches" / "width_depth-digits").glob("best-*/*")
        assert (run / "card.json").exists()
