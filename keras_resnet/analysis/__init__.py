"""What the papers plot of a network, as arrays, and the figures of them (extra `[plots]`)."""

from keras_resnet.analysis.drawing import Box, drawing
from keras_resnet.analysis.figures import (
    draw_cam,
    draw_features,
    draw_gradients,
    draw_lesion,
    draw_network,
    draw_paths,
    draw_responses,
    expect_new_figure,
    overlay,
    save,
)
from keras_resnet.analysis.gradients import Gradients, block_gradients
from keras_resnet.analysis.lesions import Lesion, lesion
from keras_resnet.analysis.maps import Cam, feature_maps, grad_cam
from keras_resnet.analysis.paths import Paths, path_gradients
from keras_resnet.analysis.responses import Responses, layer_responses
from keras_resnet.analysis.samples import example, sample

__all__ = [
    "Box",
    "Cam",
    "Gradients",
    "Lesion",
    "Paths",
    "Responses",
    "block_gradients",
    "draw_cam",
    "draw_features",
    "draw_gradients",
    "draw_lesion",
    "draw_network",
    "draw_paths",
    "draw_responses",
    "drawing",
    "example",
    "expect_new_figure",
    "feature_maps",
    "grad_cam",
    "layer_responses",
    "lesion",
    "overlay",
    "path_gradients",
    "sample",
    "save",
]
