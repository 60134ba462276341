"""Runs exported files as their users do, with nothing of ours: python runtimes.py IMAGES.npz RESULTS.npz FILE...

IMAGES.npz has `images`, uint8 [N, H, W, C], the `crop` of them that the network sees, height and width, the `mean` and
`std` that normalize that, and the number of `threads`. RESULTS.npz gets, under each FILE's name, its probabilities,
float32 [N, classes], and under "FILE ms" how long it took for one image, the median in milliseconds.
"""

import sys
import warnings
from pathlib import Path
from time import perf_counter

import numpy as np

BATCH = 32
TIMED = 20


def saved_model(path, threads):
    import tensorflow as tf

    loaded = tf.saved_model.load(path)
    return lambda images: loaded.signatures["serving_default"](images=tf.constant(images))["probabilities"].numpy()


def keras_model(path, threads):
    import keras

    model = keras.models.load_model(path)
    return lambda images: keras.ops.convert_to_numpy(model.predict_on_batch(images))


def litert(path, threads):
    import tensorflow as tf

    with warnings.catch_warnings(action="ignore"):  # TensorFlow's says where it will be in future
        run = tf.lite.Interpreter(path, num_threads=threads).get_signature_runner()
    return lambda images: np.concatenate([run(images=image[np.newaxis])["probabilities"] for image in images])


def onnx(path, threads):
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    return lambda images: session.run(["probabilities"], {"images": images})[0]


def middle(images, crop):
    """Of that height and width, float32."""
    top, left = (round((there - kept) / 2) for there, kept in zip(images.shape[1:3], crop, strict=True))
    return images[:, top : top + crop[0], left : left + crop[1]].astype("float32")


def raw(images, given):
    return images


def sized(images, given):
    return middle(images, given["crop"])


def normalized(images, given):
    return ((sized(images, given) - given["mean"]) / given["std"]).astype("float32")


RUNTIMES = {  # and what it takes for images
    "": (saved_model, raw),
    ".keras": (keras_model, normalized),
    ".tflite": (litert, sized),
    ".onnx": (onnx, sized),
}


def milliseconds(run, image):
    start = perf_counter()
    run(image)
    return 1000 * (perf_counter() - start)


def main(path, returned, *files):
    with np.load(path) as archive:
        given = dict(archive)
    results, images, threads = {}, given["images"], int(given["threads"])
    batches = [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
    for file in files:
        runtime, taken = RUNTIMES[Path(file).suffix]
        run, one = runtime(file, threads), taken(images[:1], given)
        results[file] = np.concatenate([run(taken(batch, given)) for batch in batches])
        results[f"{file} ms"] = np.median([milliseconds(run, one) for _ in range(TIMED)])
    np.savez(returned, **results)


if __name__ == "__main__":
    main(*sys.argv[1:])
