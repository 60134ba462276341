"""ResNet-50 on one GPU, bfloat16 over float32 weights, random images: Keras on JAX, and torch, compiled, channels_last.

GFLOP are those of a step, or of a batch; by the milliseconds they give the rate, and the product of two matrices gives
that of which the chip is capable.
"""

from functools import partial

from benchmarks.harness import Benchmark, Contender

BATCH, SIZE, CLASSES = 256, 224, 1000
MACS = 4_089_184_256  # of an image, forward
SIDE = 8192  # of the matrices
ON_JAX = {"KERAS_BACKEND": "jax", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}  # contenders share the memory
JAX_DEVICE, TORCH_DEVICE = "gpu", "cuda"


def gigaflop(macs: int) -> dict[str, int]:
    return {"GFLOP": 2 * macs // 10**9}


def placed(*shape: int):
    """On the GPU; an error where there is none."""
    import jax

    device = jax.devices(JAX_DEVICE)[0]
    return jax.device_put(jax.random.normal(jax.random.key(0), shape, "bfloat16"), device)


def network():
    import keras

    import keras_resnet

    keras.config.set_dtype_policy("mixed_bfloat16")
    return keras_resnet.ResNet50(input_shape=(SIZE, SIZE, 3), classifier_activation=None)


def train_on_jax():
    import jax
    import keras

    images, labels, model = placed(BATCH, SIZE, SIZE, 3), jax.numpy.arange(BATCH) % CLASSES, network()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss)
    return lambda: model.train_on_batch(images, labels)


def infer_on_jax():
    images, model = placed(BATCH, SIZE, SIZE, 3), network()
    return lambda: model.predict_on_batch(images)


def on_torch():
    """The network, compiled, and its images."""
    import torch
    import torchvision

    model = torchvision.models.resnet50().to(TORCH_DEVICE, memory_format=torch.channels_last)
    images = torch.randn(BATCH, 3, SIZE, SIZE, device=TORCH_DEVICE, dtype=torch.bfloat16)
    return model, torch.compile(model), images.contiguous(memory_format=torch.channels_last)


def train_on_torch():
    import torch

    model, compiled, images = on_torch()
    labels = torch.arange(BATCH, device=TORCH_DEVICE) % CLASSES
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)

    def step():
        optimizer.zero_grad()
        with torch.autocast(TORCH_DEVICE, torch.bfloat16):
            loss = torch.nn.functional.cross_entropy(compiled(images), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def infer_on_torch():
    import torch

    model, compiled, images = on_torch()
    model.eval()

    def run():
        with torch.inference_mode(), torch.autocast(TORCH_DEVICE, torch.bfloat16):
            return compiled(images).float().cpu()

    return run


def product():
    import jax

    matrices, multiply = placed(2, SIDE, SIDE), jax.jit(lambda a: a[0] @ a[1])
    return lambda: multiply(matrices).block_until_ready()


def benchmark(about: str, ours, torchs, macs: int) -> Benchmark:
    counted = partial(gigaflop, BATCH * macs)
    contenders = (
        Contender("keras_resnet resnet50, Keras on JAX", ours, ON_JAX, counted),
        Contender("torchvision resnet50, torch.compile", torchs, facts=counted),
        Contender(f"product of two matrices of {SIDE} x {SIDE}", product, ON_JAX, partial(gigaflop, SIDE**3)),
    )
    return Benchmark(f"{about} {BATCH} images of {SIZE} x {SIZE}. {__doc__}", contenders, warmups=3, passes=10)


BENCHMARKS = {
    "gpu_train": benchmark("A training step, SGD with momentum:", train_on_jax, train_on_torch, 3 * MACS),
    "gpu_inference": benchmark("Logits of a batch:", infer_on_jax, infer_on_torch, MACS),
}
