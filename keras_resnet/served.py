"""Runs a SavedModel with nothing but TensorFlow: python served.py SAVED_MODEL IMAGES.npy PROBABILITIES.npy."""

import sys


def main(saved_model: str, images: str, probabilities: str) -> None:
    import numpy as np
    import tensorflow as tf

    serve = tf.saved_model.load(saved_model).signatures["serving_default"]
    np.save(probabilities, serve(images=tf.constant(np.load(images)))["probabilities"].numpy())


if __name__ == "__main__":
    main(*sys.argv[1:])
