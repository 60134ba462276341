"""Processes that train together: started, waited for, and killed at the end."""

import json
import os
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

WORKER = Path(__file__).parent.parent / "training" / "distributed_worker.py"


def free_ports(count):
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("localhost", 0))) for _ in range(count)]
        return [found.getsockname()[1] for found in sockets]


@contextmanager
def launched(folders, command=None, script=WORKER, **arguments):
    """One worker for every folder that it is given, its output beside what it writes there; killed at the end."""
    addresses = [f"localhost:{port}" for port in free_ports(len(folders))]
    processes = []
    try:
        for index, folder in enumerate(folders):
            task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
            environment = {**os.environ, "TF_CONFIG": json.dumps(task), "PYTHONWARNINGS": "error::UserWarning"}
            folder.mkdir(exist_ok=True)
            with open(folder / f"worker{index}.log", "w") as log:
                started = command or [script, json.dumps({"folder": str(folder), **arguments})]
                processes.append(
                    subprocess.Popen(
                        [sys.executable, *started], cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT
                    )
                )
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def logs(folder):
    return [path.read_text() for path in sorted(folder.glob("*.log"))]


def wait_for(happened, processes, timeout=300):
    end = time.monotonic() + timeout
    while not happened():
        assert time.monotonic() < end
        assert all(process.poll() is None for process in processes)
        time.sleep(0.05)
