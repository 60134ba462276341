"""Drawings of networks: boxes that fold equal blocks, on one page."""

import pytest

import keras_resnet
from helpers.small_networks import ROWS, dense, network
from keras_resnet import analysis
from keras_resnet.analysis import figures


def test_a_drawing_folds_equal_blocks():
    model = network(stages=((4,) * 5, (8,) * 3))
    boxes = analysis.drawing(model)
    assert [(box.name, box.times, box.shortcut) for box in boxes] == [
        ("stem", 1, None),
        ("stage1_block1", 5, "identity"),
        ("stage2_block1", 1, "zero channels"),
        ("stage2_block2", 2, "identity"),
        ("head", 1, None),
        ("predictions", 1, None),
    ]
    assert boxes[2].convolutions == ("3x3, 8, /2", "3x3, 8")
    assert boxes[2].output_shape == (4, 4, 8)


def test_a_drawing_shows_how_widths_grow():
    boxes = analysis.drawing(network(**ROWS["pyramid"]))
    assert boxes[1].times == 2
    assert boxes[1].convolutions == ("3x3, 5 … 6", "3x3, 5 … 6")


def test_a_drawing_of_a_dense_network_shows_its_transitions():
    boxes = {box.name: box for box in analysis.drawing(dense())}
    assert boxes["stage1_block1"].times == 2
    assert boxes["stage1_block1"].shortcut == "concatenated"
    assert boxes["stage2_in"].convolutions == ("1x1, 12", "2x2 pool, /2")


@pytest.mark.parametrize(
    ("name", "depth"),
    [
        ("resnet20", 9),
        *(pytest.param(*row, marks=pytest.mark.slow) for row in [("resnet152", 50), ("resnet1202", 600)]),
    ],
)
def test_a_drawing_fits_on_a_page(name, depth, tmp_path):
    boxes = analysis.drawing(keras_resnet.build(name))
    assert sum(box.times for box in boxes if "block" in box.name) == depth
    assert len(boxes) <= 12
    drawn = analysis.draw_network(boxes, name)
    assert drawn.get_figheight() <= figures.PAGE
    analysis.save(drawn, tmp_path / "drawing.png")
    assert (tmp_path / "drawing.png").stat().st_size > 10_000
