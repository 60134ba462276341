"""The arrangements of norm and relu of He et al. 2016, figure 4, by looping over the table of orders.

python examples/activation_orders.py

On 2 cores of an AMD EPYC, seed 0, it printed:

order            digits named rightly
post                            99.7%
norm_after_sum                  97.8%
relu_before_sum                 99.2%
relu_only                       99.2%
pre                             98.6%
pyramid                         99.4%

One digit of 359 is 0.3 %: a ResNet-20 learns the digits in any order. Depth is what tells the orders apart.
"""

import argparse

import keras

import keras_resnet


def main(smoke):
    source = keras_resnet.load_data("digits")
    recipe = keras_resnet.Recipe(epochs=1, batch_size=256) if smoke else keras_resnet.RECIPES["digits"]
    print("order            digits named rightly")
    for order in keras_resnet.ORDERS:
        keras.utils.set_random_seed(0)
        model = keras_resnet.ResNet20(input_shape=source.shape, classes=10, classifier_activation=None, order=order)
        keras_resnet.train(model, source, recipe, verbose=0)
        print(f"{order:15}  {keras_resnet.evaluate(model, source).top1:20.1%}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="one epoch in large batches")
    main(parser.parse_args().smoke)
