"""One training step of ResNeXt-50 32x4d: 8 images of 224 x 224, cross-entropy, SGD with momentum."""

from benchmarks.harness import Benchmark, Contender

BATCH, SIZE, CLASSES = 8, 224, 1000


def ours():
    import keras
    import numpy as np

    import keras_resnet

    model = keras_resnet.ResNeXt50_32x4d(classifier_activation=None)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), loss)
    images, labels = np.zeros((BATCH, SIZE, SIZE, 3), "float32"), np.arange(BATCH)
    return lambda: model.train_on_batch(images, labels)


def torchvisions():
    import torch
    import torchvision

    model = torchvision.models.resnext50_32x4d().to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
    images, labels = torch.zeros(BATCH, SIZE, SIZE, 3).permute(0, 3, 1, 2), torch.arange(BATCH)

    def step():
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()

    return step


BENCHMARKS = {
    "resnext50_train": Benchmark(
        __doc__ or "",
        (
            Contender("keras_resnet.ResNeXt50_32x4d", ours, {"TF_ENABLE_ONEDNN_OPTS": "1"}),
            Contender("torchvision resnext50_32x4d, channels_last", torchvisions),
        ),
    )
}
