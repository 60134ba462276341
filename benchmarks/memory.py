"""A training step with and without `remat=True`: cross-entropy, SGD with momentum."""

from functools import partial

from benchmarks.harness import Benchmark, Contender


def step(network: str, batch: int, remat: bool):
    import keras
    import numpy as np

    import keras_resnet

    model = keras_resnet.build(network, classifier_activation=None, remat=remat)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), loss)
    images, labels = np.zeros((batch, *model.input_shape[1:]), "float32"), np.arange(batch) % 10
    return lambda: model.train_on_batch(images, labels)


def benchmark(network: str, batch: int, rounds: int) -> Benchmark:
    contenders = (
        Contender(f"{network}, remat=True", partial(step, network, batch, True), {"TF_ENABLE_ONEDNN_OPTS": "1"}),
        Contender(network, partial(step, network, batch, False), {"TF_ENABLE_ONEDNN_OPTS": "1"}),
    )
    about = f"{__doc__} This: {network}, {batch} images of 32 x 32."
    return Benchmark(about, contenders, rounds=rounds, warmups=1, memory=True, fresh=True)


BENCHMARKS = {"memory": benchmark("resnet110", 128, rounds=3), "memory_1001": benchmark("resnet1001v2", 32, rounds=1)}
