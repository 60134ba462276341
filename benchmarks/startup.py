"""From nothing to the first training step: import, build, trace and compile."""

import subprocess
import sys
from functools import partial

from benchmarks.harness import Benchmark, Contender

BATCH, SIZE = 8, 224
COMPILED = {"PYTHONDONTWRITEBYTECODE": ""}  # as installed: modules are compiled to bytecode once, in the warm-up
OURS, KERAS = "keras_resnet.ResNet50", "keras.applications.ResNet50"


def importing(module: str):
    """A process of its own, from the interpreter's start to its end."""
    return partial(subprocess.run, [sys.executable, "-c", f"import {module}"], check=True)


def behind_keras(module: str) -> dict[str, int]:
    """What the import adds to that of Keras, which the whole is too noisy to show."""
    timed = f"import time, keras; start = time.perf_counter(); import {module}; print(time.perf_counter() - start)"
    return {"ms behind `import keras`": round(1000 * float(subprocess.check_output([sys.executable, "-c", timed])))}


def imported(module: str) -> Contender:
    return Contender(module, partial(importing, module), COMPILED, partial(behind_keras, module))


def ours(name: str = "ResNet50", **arguments):
    import keras_resnet

    return partial(getattr(keras_resnet, name), **arguments)


def applications(**arguments):
    import keras

    return partial(keras.applications.ResNet50, weights=None, **arguments)


def torchvisions():
    import torchvision

    return torchvision.models.resnet50


def compiled(make):
    """A model that has not seen a batch yet, and the batch."""
    import keras
    import numpy as np

    model = make(classifier_activation=None)()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), loss)
    return model, np.zeros((BATCH, SIZE, SIZE, 3), "float32"), np.arange(BATCH)


def first_step(make):
    model, images, labels = compiled(make)
    return partial(model.train_on_batch, images, labels)


def nodes(make) -> dict[str, int]:
    """The operations of a training step as TensorFlow traces it: forward, backward, optimizer and metrics."""
    import tensorflow as tf

    model, *batch = compiled(make)
    model.optimizer.build(model.trainable_variables)
    graph = tf.function(model.train_step).get_concrete_function(tuple(map(tf.constant, batch))).graph.as_graph_def()
    return {"nodes": len(graph.node) + sum(len(function.node_def) for function in graph.library.function)}


def stepping(name, make) -> Contender:
    return Contender(name, partial(first_step, make), facts=partial(nodes, make))


BENCHMARKS = {
    "startup_import": Benchmark(
        "The interpreter's start, `import`, and its end, each time in a process of its own.",
        tuple(map(imported, ("keras_resnet", "keras"))),
        rounds=11, warmups=1,
    ),
    "startup_build": Benchmark(
        "ResNet-50 built, its weights drawn.",
        (Contender(OURS, ours), Contender(KERAS, applications), Contender("torchvision resnet50", torchvisions)),
    ),
    "startup_first_step": Benchmark(
        f"The first training step of a new ResNet-50, traced and compiled: {BATCH} images of {SIZE} x {SIZE}, "
        "cross-entropy, SGD with momentum.",
        (stepping(OURS, ours), stepping(KERAS, applications)),
        warmups=0, fresh=True,
    ),
    "startup_1202": Benchmark(
        "ResNet-1202 built, its weights drawn.",
        (Contender("keras_resnet.ResNet1202", partial(ours, "ResNet1202")),),
        rounds=3, warmups=0, fresh=True,
    ),
}  # fmt: skip
