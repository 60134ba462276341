"""A training step with and without `remat=True`: cross-entropy, SGD with momentum."""

from functools import partial

from benchmarks.harness import Benchmark, Contender
from benchmarks.train import ONEDNN, on_keras


def step(network: str, batch: int, remat: bool):
    import keras_resnet

    return on_keras(partial(keras_resnet.build, network, classifier_activation=None, remat=remat), batch, 32)


def benchmark(network: str, batch: int, rounds: int) -> Benchmark:
    contenders = (
        Contender(f"{network}, remat=True", partial(step, network, batch, True), ONEDNN),
        Contender(network, partial(step, network, batch, False), ONEDNN),
    )
    about = f"{__doc__} This: {network}, {batch} images of 32 x 32."
    return Benchmark(about, contenders, rounds=rounds, warmups=1, memory=True, fresh=True)


BENCHMARKS = {"memory": benchmark("resnet110", 128, rounds=3), "memory_1001": benchmark("resnet1001v2", 32, rounds=1)}
