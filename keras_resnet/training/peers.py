"""Workers that watch each other: when one dies, the others say whom they lost, and leave."""

import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import numpy as np
import tensorflow as tf

from keras_resnet.training.cluster import addresses, own_task, tasks_of, workers
from keras_resnet.training.tensorflow_private import expect_answer

ANSWER, PATIENCE = 3, 30  # seconds: for a peer to answer; for TensorFlow to notice by itself that one does not


class PeerLostError(ConnectionError):
    """A worker of the cluster is gone: the others cannot go on, and all have to be started again."""


def peers(strategy: tf.distribute.Strategy | None) -> dict[str, str]:
    """The other workers: their names in TensorFlow, and their addresses."""
    if strategy is None or workers(strategy)[1] == 1:
        return {}
    others = addresses(tasks_of(strategy.cluster_resolver))
    del others[own_task(strategy.cluster_resolver)]
    return {f"/job:{job}/replica:0/task:{task}": address for (job, task), address in others.items()}


def answers(peer: str) -> bool:
    try:
        expect_answer(peer, ANSWER)
    except tf.errors.OpError:
        return False
    return True


def lost(others: dict[str, str], reason: str) -> str:
    """The message that says who is gone: whoever does not answer, or else whoever the reason names."""
    silent = [peer for peer in others if not answers(peer)]
    named = [peer for peer in others if re.search(peer.replace("/replica:0", "(/replica:0)?") + r"\b", reason)]
    gone = ", ".join(f"{peer} ({others[peer]})" for peer in silent or named) or "a peer whose name is unknown"
    return f"Lost {gone}. All workers have to be started again; they resume from the last checkpoint. {reason}"


def total(strategy: tf.distribute.Strategy, values: int | list[bool]) -> np.ndarray:
    """The sum over the workers, once all of them have come here."""
    return strategy.reduce("SUM", tf.constant(values, tf.int64), axis=None).numpy()


@contextmanager
def peers_watched(strategy: tf.distribute.Strategy | None) -> Iterator[None]:
    """Around `fit`: a process does not outlive its peers, and says which of them it lost; all leave together.

    Raises:
        PeerLostError: If a peer is gone. If TensorFlow hangs instead of noticing, the process says so and exits.
    """
    others = peers(strategy)
    if strategy is None or not others:
        yield
        return
    left = threading.Event()
    threading.Thread(target=watch, args=(others, left, threading.get_ident()), daemon=True).start()
    try:
        yield
        total(strategy, 0)
    except tf.errors.OpError as error:
        if all(map(answers, others)) and "Collective ops is aborted" not in error.message:
            raise
        raise PeerLostError(lost(others, error.message)) from error
    finally:
        left.set()


def watch(others: dict[str, str], left: threading.Event, thread: int) -> None:
    """Ends the process if a peer is silent and the thread waits in one call of TensorFlow, both for too long."""
    since, before = time.monotonic(), None
    while not left.wait(ANSWER):
        waiting = None if all(map(answers, others)) else call_of_tensorflow(thread)
        if waiting is None or waiting is not before:
            since, before = time.monotonic(), waiting
        elif time.monotonic() - since > PATIENCE:
            print(lost(others, "TensorFlow hangs."), file=sys.stderr, flush=True)
            os._exit(1)


def call_of_tensorflow(thread: int) -> FrameType | None:
    """Where the thread is, if in TensorFlow: a frame is the same object only while the call lasts."""
    frame = sys._current_frames().get(thread)
    return frame if frame and frame.f_globals.get("__name__", "").startswith("tensorflow.") else None
