"""A network that nobody published, as a row of one's own: written down, varied, counted, trained and saved.

python examples/your_own_network.py

On 2 cores of an AMD EPYC, seed 0, it printed:

row             parameters  multiply-adds  digits named rightly
small               85,386      1,474,240                 99.4%
in 4 groups         49,314        871,168                 98.6%
with SE             91,108      1,479,584                 98.9%
with drop path      85,386      1,474,240                 99.2%
"""

import argparse
import json
from dataclasses import asdict, replace

import keras

import keras_resnet

SMALL = keras_resnet.ResNetConfig(
    stages=((32, 40), (48, 56, 64), (96,)),  # output channels, block by block
    stem_filters=32,
    branch="bottleneck",
    inner=1 / 2,
    order="pre",
)
VARIANTS = {
    "small": SMALL,
    "in 4 groups": replace(SMALL, groups=4),
    "with SE": replace(SMALL, se_ratio=8),
    "with drop path": replace(SMALL, drop_path=0.1),
}


def main(smoke):
    source = keras_resnet.load_data("digits")
    recipe = keras_resnet.Recipe(epochs=1, batch_size=256) if smoke else keras_resnet.RECIPES["digits"]
    print("row             parameters  multiply-adds  digits named rightly")
    for name, row in VARIANTS.items():
        assert keras_resnet.ResNetConfig(**json.loads(json.dumps(asdict(row)))) == row
        keras.utils.set_random_seed(0)
        model = keras_resnet.resnet(row, input_shape=source.shape, classifier_activation=None)
        keras_resnet.train(model, source, recipe, verbose=0)
        costs = keras_resnet.complexity(model)
        right = keras_resnet.evaluate(model, source).top1
        print(f"{name:14}  {costs.trainable_params:10,}  {costs.macs:13,}  {right:20.1%}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="one epoch in large batches")
    main(parser.parse_args().smoke)
