"""A feature pyramid (Lin et al. 2017, figure 3) upon the stages of any network here, at any image size.

python examples/feature_pyramid.py

It prints:

resnet18         11,743,936 parameters  32x40x128, 16x20x128, 8x10x128
resnet50v2       24,447,936 parameters  32x40x128, 16x20x128, 8x10x128
resnext50_32x4d  23,950,016 parameters  32x40x128, 16x20x128, 8x10x128
"""

import argparse

import keras
from keras import layers

import keras_resnet


def pyramid(backbone, channels):
    """Every stage to the same channels, the coarser one enlarged and added, then smoothed by a 3x3."""
    stages = keras_resnet.features(backbone, stages=(2, 3, 4))
    levels, coarser = [], None
    for stage, stride in reversed(list(zip(stages.outputs, stages.strides, strict=True))):
        level = layers.Conv2D(channels, 1, name=f"lateral_{stride}")(stage)
        if coarser is not None:
            level = layers.Add()([level, layers.UpSampling2D(name=f"enlarge_{stride}")(coarser)])
        coarser = level
        levels.insert(0, layers.Conv2D(channels, 3, padding="same", name=f"level_{stride}")(level))
    return keras.Model(backbone.input, levels, name=f"{backbone.name}_fpn")


def main(smoke):
    names = ["resnet18"] if smoke else ["resnet18", "resnet50v2", "resnext50_32x4d"]
    image = keras.random.normal((1, 256, 320, 3), seed=0)
    for name in names:
        model = pyramid(keras_resnet.build(name, include_top=False), channels=128)
        shapes = ", ".join("x".join(map(str, level.shape[1:])) for level in model(image))
        print(f"{name:15}  {model.count_params():>10,} parameters  {shapes}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="one network")
    main(parser.parse_args().smoke)
