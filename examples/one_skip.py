"""The smallest residual network: five dense layers of 8 x 8 with relu, without and with one skip, on the same weights.

python examples/one_skip.py [--output one_skip.png]

The skip adds the output of layer 1 to that of layer 4. The numbers are L2 norms of the gradient at each kernel, at
initialization (Glorot uniform), the mean of 100 draws of the weights. Seed 0 on 2 cores of an AMD EPYC:

plain [0.0453 0.0792 0.0952 0.0897 0.0814]
skip  [0.323  0.162  0.2007 0.2036 0.5983]
"""

import argparse

import keras
import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

NUMBERS, WIDTH = range(1, 6), 8


def network(skip):
    tensors = [keras.Input((WIDTH,))]
    for number in NUMBERS:
        tensors.append(keras.layers.Dense(WIDTH, "relu")(tensors[-1]))
        if skip and number == 4:
            tensors.append(keras.layers.Add()([tensors[1], tensors[-1]]))
    return keras.Model(tensors[0], tensors[-1])


def gradient_norms(model, x, y):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean((model(x) - y) ** 2)
    return [tf.norm(gradient) for gradient in tape.gradient(loss, [w.value for w in model.trainable_weights[::2]])]


def main(draws, output):
    keras.utils.set_random_seed(0)
    models, norms = {"plain": network(skip=False), "skip": network(skip=True)}, {"plain": [], "skip": []}
    x, y = keras.random.normal((2, 256, WIDTH))
    for _ in range(draws):
        weights = network(skip=False).get_weights()
        for name, model in models.items():
            model.set_weights(weights)
            norms[name].append(gradient_norms(model, x, y))
    axes = Figure(figsize=(6, 3.5)).subplots(subplot_kw=dict(xlabel="layer", ylabel="norm of the gradient"))
    for name, drawn in norms.items():
        axes.plot(NUMBERS, np.mean(drawn, 0), "o-", label=name)
        print(f"{name:5}", np.mean(drawn, 0).round(4))
    axes.legend()
    if output:
        axes.figure.savefig(output)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", help="a figure, such as one_skip.png")
    parser.add_argument("--smoke", action="store_const", const=2, default=100, dest="draws", help="2 draws, not 100")
    main(**vars(parser.parse_args()))
