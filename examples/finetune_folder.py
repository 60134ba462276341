"""From ImageNet's weights to the classes of a folder of photographs: the commonest use of a published network.

    python examples/finetune_folder.py PHOTOGRAPHS resnet50_imagenet.weights.h5

PHOTOGRAPHS has a subfolder for every class, or `train/` and `test/` over them. The weights are any that ResNet-50 has:
torchvision's `.pth`, timm's `.safetensors` or `hf://timm/resnet50.a1_in1k`, Keras' `.weights.h5`, or "imagenet".
The same from the command line, with a folder of results that can be resumed:

    keras-resnet train resnet50 --data PHOTOGRAPHS --weights resnet50_imagenet.weights.h5 --freeze stage3
"""

import argparse
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import keras

import keras_resnet


def finetune(model, source, recipe):
    """First what reads stage 3, which stays as it was on ImageNet; then everything, at a tenth of the rate."""
    keras_resnet.train(keras_resnet.freeze(model, "stage3"), source, recipe, verbose=2)
    keras_resnet.train(keras_resnet.freeze(model, None), source, replace(recipe, lr=recipe.lr / 10), verbose=2)
    print(keras_resnet.evaluate(model, source))


def main(photographs, weights, epochs):
    keras.utils.set_random_seed(0)
    source = keras_resnet.load_data(Path(photographs))
    model = keras_resnet.ResNet50(weights=weights, classes=source.classes, classifier_activation=None)
    finetune(model, source, replace(keras_resnet.RECIPES["finetune"], epochs=epochs))


def smoke():
    """Digits for photographs, and a small network without weights."""
    digits = keras_resnet.load_data("digits").test
    with TemporaryDirectory() as folder:
        for index, (image, label) in enumerate(zip(digits.images[:80], digits.labels[:80], strict=True)):
            path = Path(folder) / str(label) / f"{index}.png"
            path.parent.mkdir(exist_ok=True)
            keras.utils.save_img(path, image.repeat(3, axis=-1), scale=False)
        source = keras_resnet.load_data(Path(folder))
        model = keras_resnet.ResNet18(input_shape=(32, 32, 3), classes=10, classifier_activation=None)
        finetune(model, source, replace(keras_resnet.RECIPES["finetune"], epochs=1))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photographs", nargs="?")
    parser.add_argument("weights", nargs="?", default="imagenet")
    parser.add_argument("--epochs", type=int, default=5, help="of each half")
    parser.add_argument("--smoke", action="store_true", help="digits, a small network, one epoch")
    given = parser.parse_args()
    smoke() if given.smoke else main(given.photographs, given.weights, given.epochs)
