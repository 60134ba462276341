"""Figures of the studies' results (extra `[plots]`): functions from results to matplotlib's `Figure`."""

from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_resnet.analysis.drawing import Box
from keras_resnet.files import completed, expect_new_figure

if TYPE_CHECKING:  # these need TensorFlow and matplotlib
    from matplotlib.figure import Figure

    from keras_resnet.analysis.gradients import Gradients
    from keras_resnet.analysis.lesions import Lesion
    from keras_resnet.analysis.maps import Cam
    from keras_resnet.analysis.paths import Paths
    from keras_resnet.analysis.responses import Responses

MAPS = 64  # channels shown of a stage
PAGE = 10.5  # inches of height, as A4 has between its margins


def figure(width: float, height: float) -> "Figure":
    """No window, no global state."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def save(drawn: "Figure", path: Path) -> None:
    """Writes a figure as its path's suffix says; an existing file is refused."""
    expect_new_figure(path)
    with completed(path) as partial:
        drawn.savefig(partial, dpi=90)


def draw_responses(results: Mapping[str, "Responses"]) -> "Figure":
    """He et al. 2015, figure 7: in the networks' order, and sorted."""
    drawn = figure(7, 5)
    ordered, ranked = drawn.subplots(2, 1)
    for name, responses in results.items():
        numbers = np.arange(1, 1 + len(responses.stds))
        ordered.plot(numbers, responses.stds, marker=".", label=name)
        ranked.plot(numbers, np.sort(responses.stds)[::-1], marker=".", label=name)
    finish(ordered, xlabel="layer", ylabel="std of the responses")
    finish(ranked, xlabel="layer, sorted by magnitude", ylabel="std of the responses")
    return drawn


def draw_gradients(results: Mapping[str, "Gradients"]) -> "Figure":
    """Norm at each block's input; dashed, without what the shortcuts carry."""
    drawn = figure(7, 4)
    axes = drawn.subplots()
    for name, gradients in results.items():
        numbers = np.arange(1, 1 + len(gradients.norms))
        (line,) = axes.plot(numbers, gradients.norms, marker=".", label=name)
        if not np.array_equal(gradients.norms, gradients.branches_alone):
            dashed: dict[str, Any] = dict(color=line.get_color(), linestyle="--", marker=".")
            axes.plot(numbers, gradients.branches_alone, label=f"{name}, branches alone", **dashed)
    finish(axes, xlabel="block", ylabel="norm of the gradient at its input", yscale="log")
    return drawn


def draw_lesion(results: Mapping[str, "Lesion"]) -> "Figure":
    """Veit et al. 2016, figures 3 and 5a."""
    drawn = figure(10, 4)
    one, several = drawn.subplots(1, 2, sharey=True)
    for name, study in results.items():
        (line,) = one.plot(np.arange(1, 1 + len(study.errors)), 100 * study.errors, marker=".", label=name)
        one.axhline(100 * study.baseline, color=line.get_color(), linestyle=":")
        least, mean, greatest = 100 * np.array([(e.min(), e.mean(), e.max()) for e in study.several]).T
        several.errorbar(study.counts, mean, [mean - least, greatest - mean], marker=".", capsize=2, label=name)
    finish(one, xlabel="block that is deleted (dotted: none)", ylabel="error (%)", ylim=(0, None))
    finish(several, xlabel="random blocks that are deleted (mean and range)")
    return drawn


def draw_paths(results: Mapping[str, "Paths"]) -> "Figure":
    """Veit et al. 2016, figure 6."""
    drawn = figure(9.5, 3.2)
    panels = drawn.subplots(1, 3)
    for name, paths in results.items():
        for axes, values in zip(panels, (paths.shares, paths.norms, paths.contributions), strict=True):
            axes.plot(paths.lengths, values, marker=".", label=name)
    scales = {"share of the paths": "linear", "gradient of one path": "log", "share of the gradient": "linear"}
    for axes, (ylabel, yscale) in zip(panels, scales.items(), strict=True):
        finish(axes, xlabel="path length (blocks)", ylabel=ylabel, yscale=yscale)
    return drawn


def finish(axes: Any, **settings: Any) -> None:
    axes.set(**settings)
    axes.xaxis.get_major_locator().set_params(integer=True)  # layers, blocks
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)


def overlay(cam: "Cam", alpha: float = 0.5) -> np.ndarray:
    """The heatmap over the image: uint8 [H, W, 3]."""
    from matplotlib import colormaps

    colors = 255 * colormaps["jet"](cam.heatmap)[..., :3]
    return np.round((1 - alpha) * cam.image[..., :3] + alpha * colors).astype("uint8")


def draw_cam(cam: "Cam", name: str) -> "Figure":
    """The image, and the heatmap over it."""
    drawn = figure(6, 3.3)
    for axes, image in zip(drawn.subplots(1, 2), (cam.image, overlay(cam)), strict=True):
        axes.imshow(image.squeeze(), cmap="gray", vmin=0, vmax=255)
        axes.set_axis_off()
    drawn.suptitle(f"{name} ({cam.layer})", fontsize=10)
    return drawn


def draw_features(maps: np.ndarray, name: str) -> "Figure":
    """Up to 64 channels, each from its least value (black) to its greatest (white)."""
    first = np.moveaxis(maps, -1, 0)[:MAPS]
    across = ceil(len(first) ** 0.5)
    down = ceil(len(first) / across)
    drawn = figure(0.7 * across + 0.3, 0.7 * down + 0.6)
    panels = np.ravel(drawn.subplots(down, across, squeeze=False))
    for axes in panels:
        axes.set_axis_off()
    for axes, channel in zip(panels, first, strict=False):
        axes.imshow(channel, cmap="gray")
    height, width, channels = maps.shape
    drawn.suptitle(f"{name}: {len(first)} of {channels} channels, {height}x{width}", fontsize=8)
    return drawn


def draw_network(boxes: Sequence[Box], name: str) -> "Figure":
    """From the image at the top to the classes at the bottom; shortcuts on the right, on one page."""
    tall = [max(1, len(box.convolutions)) + 1.2 for box in boxes]
    drawn = figure(6, min(PAGE, 0.6 + 0.2 * sum(tall)))
    axes = drawn.subplots()
    axes.set(xlim=(-1.5, 2.6), ylim=(sum(tall), -0.3), title=name)
    axes.set_axis_off()
    tops = np.cumsum([0, *tall[:-1]])
    for box, top, height in zip(boxes, tops, tall, strict=True):
        draw_box(axes, box, top, height)
    return drawn


def draw_box(axes: Any, box: Box, top: float, height: float) -> None:
    from matplotlib.patches import FancyBboxPatch

    middle, bottom = top + (height - 0.7) / 2, top + height - 0.7
    style = "round,pad=0,rounding_size=0.08"
    axes.add_patch(FancyBboxPatch((0, top), 1, bottom - top, boxstyle=style, facecolor="#eef3fa", edgecolor="#456"))
    text = dict(va="center", fontsize=8)
    axes.text(0.5, middle, "\n".join(box.convolutions or (box.name,)), ha="center", **text)
    axes.text(-0.08, middle, f"{box.name}\n{'x'.join(map(str, box.output_shape))}", ha="right", **text)
    axes.annotate("", (0.5, top + height), (0.5, bottom), arrowprops=dict(arrowstyle="->", color="#456"))
    if box.shortcut:
        line = dict(color="#a52" if box.shortcut != "identity" else "#456", linewidth=1)
        axes.plot([0.5, 1.12, 1.12, 0.5], [top - 0.2, top - 0.2, bottom + 0.2, bottom + 0.2], **line)
    times = f"x {box.times}" if box.times > 1 else ""
    axes.text(1.2, middle, "\n".join(filter(None, (times, box.shortcut))), ha="left", **text)
