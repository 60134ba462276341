"""ResNeXt-50's first grouped convolution: 3x3, 128 -> 128 channels in 32 groups, on 8 x 56 x 56."""

from functools import partial

from benchmarks.harness import Benchmark, Contender

SHAPE, GROUPS, KERNEL = (8, 56, 56, 128), 32, 3
ONEDNN = {"TF_ENABLE_ONEDNN_OPTS": "1"}


def on_keras(layer_name: str, training: bool):
    import keras
    import tensorflow as tf

    import keras_resnet

    kind = {"keras": keras.layers.Conv2D, "ours": keras_resnet.GroupedConv2D}[layer_name]
    layer = kind(SHAPE[-1], KERNEL, padding="same", groups=GROUPS, use_bias=False)
    layer.build(SHAPE)
    images = tf.random.normal(SHAPE)

    @tf.function
    def forward():
        return layer(images)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            tape.watch(images)
            loss = tf.reduce_sum(layer(images) ** 2)
        return tape.gradient(loss, [images, layer.kernel.value])

    return partial(finished, step if training else forward)


def finished(run):
    """Eager TensorFlow returns when the work is done; reading a value makes sure."""
    result = run()
    return (result[0] if isinstance(result, list) else result)[0, 0, 0, 0].numpy()


def on_torch(training: bool):
    import torch

    layer = torch.nn.Conv2d(SHAPE[-1], SHAPE[-1], KERNEL, padding=1, groups=GROUPS, bias=False)
    layer = layer.to(memory_format=torch.channels_last)
    images = (
        torch.randn(SHAPE).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last).requires_grad_(training)
    )

    def forward():
        with torch.no_grad():
            layer(images)

    def step():
        images.grad = layer.weight.grad = None
        (layer(images) ** 2).sum().backward()

    return step if training else forward


def benchmark(training: bool) -> Benchmark:
    what = "one training step (gradients of images and kernel)" if training else "forward"
    return Benchmark(
        f"{__doc__} This: {what}.",
        (
            Contender("keras_resnet.GroupedConv2D", partial(on_keras, "ours", training), ONEDNN),
            Contender("keras.layers.Conv2D(groups=32)", partial(on_keras, "keras", training), ONEDNN),
            Contender("torch channels_last", partial(on_torch, training)),
        ),
        warmups=1 if training else 5,
        rounds=7 if training else 21,
    )


BENCHMARKS = {"grouped_conv": benchmark(training=True), "grouped_conv_forward": benchmark(training=False)}
