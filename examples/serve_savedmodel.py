"""Names images with an exported SavedModel and nothing but TensorFlow: serve_savedmodel.py EXPORT IMAGE..."""

import argparse
import tempfile
from pathlib import Path

import tensorflow as tf


def main(export: Path, images: list[Path]) -> None:
    serve = tf.saved_model.load(export).signatures["serving_bytes"]
    found = serve(images=tf.constant([image.read_bytes() for image in images]))
    probabilities = tf.gather(found["probabilities"], found["classes"], batch_dims=1)
    for image, names, shares in zip(images, found["labels"].numpy(), probabilities.numpy(), strict=True):
        print(image, *[f"{name.decode()} {share:.1%}" for name, share in zip(names, shares, strict=True)], sep="  ")


def smoke(folder: Path) -> None:
    """The same on a network that was just made, and two of the built-in digits."""
    import keras_resnet
    from keras_resnet.data import digits

    model = keras_resnet.ResNet20(input_shape=(8, 8, 1))
    exported = keras_resnet.export(model, folder / "exported", preprocessing="unit")
    images = [folder / "first.png", folder / "second.png"]
    for path, pixels in zip(images, digits().test.images, strict=False):
        path.write_bytes(tf.io.encode_png(pixels).numpy())
    main(exported, images)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("export", type=Path, nargs="?", help="the folder of a version")
    parser.add_argument("images", type=Path, nargs="*", help="JPEG or PNG files")
    parser.add_argument("--smoke", action="store_true", help="with a network of its own")
    arguments = parser.parse_args()
    if arguments.smoke:
        with tempfile.TemporaryDirectory() as folder:
            smoke(Path(folder))
    elif arguments.export and arguments.images:
        main(arguments.export, arguments.images)
    else:
        parser.error("EXPORT and at least one IMAGE, or --smoke")
