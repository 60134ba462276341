"""A peer that is gone: who it is, and that nobody waits for it."""

import re
import subprocess
import sys

import pytest
import tensorflow as tf

from keras_resnet.training import peers as module
from keras_resnet.training.peers import lost, peers, peers_watched

OTHERS = {"/job:worker/replica:0/task:1": "b:1", "/job:worker/replica:0/task:11": "c:1"}


ONE, ELEVEN = r"Lost /job:worker/replica:0/task:1 \(b:1\)\. All", r"Lost /job:worker/replica:0/task:11 \(c:1\)\. All"
GONE = [
    (["/job:worker/replica:0/task:1"], "", ONE),
    ([], "reported from /job:worker/task:11: unhealthy", ELEVEN),
    ([], "remote target /job:worker/replica:0/task:1 while", ONE),
    ([], "Deadline Exceeded", "Lost a peer whose name is unknown. All .* Deadline Exceeded"),
]


@pytest.mark.parametrize(("silent", "reason", "named"), GONE)
def test_the_message_names_who_is_silent_or_who_the_error_names(silent, reason, named, monkeypatch):
    monkeypatch.setattr(module, "answers", lambda peer: peer not in silent)
    assert re.match(named, lost(OTHERS, reason))


def test_nobody_watches_one_process():
    assert peers(None) == {}
    with pytest.raises(tf.errors.UnavailableError), peers_watched(None):
        raise tf.errors.UnavailableError(None, None, "mine")


HANGS = """
import threading, time, tensorflow as tf
from keras_resnet.training import peers
peers.answers, peers.ANSWER, peers.PATIENCE = (lambda peer: False), 0.2, 1
threading.Thread(target=peers.watch, args=({"peer": "a:1"}, threading.Event(), threading.get_ident())).start()
time.sleep(3)
print("a chief may write as long as it takes", flush=True)
tf.queue.FIFOQueue(1, tf.int32).dequeue()
"""


@pytest.mark.slow
def test_a_process_that_hangs_in_tensorflow_leaves_and_one_that_writes_does_not():
    process = subprocess.run([sys.executable, "-c", HANGS], capture_output=True, text=True, timeout=300)
    assert process.returncode == 1
    assert "as long as it takes" in process.stdout
    assert "Lost peer (a:1). All workers have to be started again" in process.stderr
