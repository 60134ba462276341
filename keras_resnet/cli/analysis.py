"""The group of commands inspect: figures of what trained networks do."""

from pathlib import Path

import click

from keras_resnet.checks import expect
from keras_resnet.cli.options import (
    DATA,
    Command,
    data_option,
    figure_option,
    file_option,
    model_argument,
    on_error,
    preprocessing,
    split,
    together,
)
from keras_resnet.cli.start import start_tensorflow
from keras_resnet.modelcard import card


@click.group()
def inspect():
    """Draw what a trained MODEL does, as the papers draw it, and print the numbers."""


def label(path: Path) -> str:
    """The run's folder, or the file's name."""
    return path.absolute().parent.name if path.stem == "model" else path.stem


def expect_different_labels(models: tuple[Path, ...]) -> None:
    labels = list(map(label, models))
    expect(len(set(labels)) == len(labels), "models", "files in folders, or of names, that differ", labels)


output = figure_option("--output", "The figure: a new .png, .pdf or .svg.", required=True)
one_model = model_argument("model")
on_images = together(
    model_argument("models", nargs=-1, required=True),
    data_option(required=True),
    on_error,
    split,
    preprocessing,
    click.option(
        "--images", type=click.IntRange(1), default=1000, show_default=True, help="How many, spread over the split."
    ),
    click.option("--batch-size", type=click.IntRange(1), default=100, show_default=True, help="Images at a time."),
    output,
)
on_random_blocks = together(
    click.option("--repeats", type=click.IntRange(1), help="Random draws for each number of blocks."),
    click.option("--seed", type=click.IntRange(0), default=0, show_default=True),
)
on_one_image = together(
    one_model,
    file_option("--image", "A JPEG, PNG, GIF or BMP."),
    data_option(f"Or an image of these data: {DATA}"),
    split,
    click.option("--number", type=click.IntRange(0), default=0, show_default=True, help="Which image of the split."),
    preprocessing,
    output,
)


def start_analysis():
    """The functions of `keras_resnet.analysis`."""
    start_tensorflow()
    from keras_resnet import analysis

    return analysis


def loaded(path: Path):
    from keras_resnet.networks.loading import load_model

    return load_model(path)


def study_together(study, draw, models, output, data, data_dir, on_error, **given):
    """Studies every model, and draws one figure of all."""
    expect_different_labels(models)
    analysis = start_analysis()
    from keras_resnet.data import load_data

    source = load_data(data, data_dir=data_dir, on_error=on_error)
    given = {name: value for name, value in given.items() if value is not None}
    results = {label(path): getattr(analysis, study)(loaded(path), source, **given) for path in models}
    for name, result in results.items():
        click.echo(f"{name}\n{result}")
    analysis.save(getattr(analysis, draw)(results), output)


@inspect.command(cls=Command)
@on_images
def responses(**given):
    """Standard deviations of the layers' responses (He et al. 2015, figure 7)."""
    study_together("layer_responses", "draw_responses", **given)


@inspect.command(cls=Command)
@on_images
def gradients(**given):
    """Norms of the gradient at the blocks; dashed: without what the shortcuts carry."""
    study_together("block_gradients", "draw_gradients", **given)


@inspect.command(cls=Command)
@on_images
@on_random_blocks
@click.option(
    "--count",
    "counts",
    type=click.IntRange(1),
    multiple=True,
    help="How many random blocks to delete; repeat the option for several numbers.",
)
def lesion(counts, **given):
    """Errors without one block, and without several random ones (Veit et al. 2016, figures 3 and 5a)."""
    study_together("lesion", "draw_lesion", counts=counts or None, **given)


@inspect.command(cls=Command)
@on_images
@on_random_blocks
def paths(**given):
    """Lengths of the paths, and the gradient by length (Veit et al. 2016, figure 6)."""
    study_together("path_gradients", "draw_paths", **given)


def expect_one_image(image, data, **_) -> None:
    expect((image is None) != (data is None), "image", "either --image or --data", image and str(image))


def one_image(image, data, data_dir, split, number):
    """The file, or the image of the data with that number."""
    if image:
        return image
    from keras_resnet.analysis import example
    from keras_resnet.data import load_data

    return example(load_data(data, data_dir=data_dir), number, split)


@inspect.command(cls=Command)
@on_one_image
@click.option("--class", "target", help="Number or name; by default the likeliest class.")
@click.option("--layer", help="Name of the layer whose maps are taken; by default the last one that the head pools.")
def cam(model, output, target, layer, preprocessing, **given):
    """Where in an image the model sees a class: Grad-CAM (Selvaraju et al. 2017)."""
    expect_one_image(**given)
    analysis = start_analysis()
    network, image = loaded(model), one_image(**given)
    names = getattr(card(network), "class_names", None)
    target = int(target) if target and target.isdecimal() and target not in (names or ()) else target
    heatmap = analysis.grad_cam(network, image, target, layer=layer, preprocessing=preprocessing)
    name = names[heatmap.class_index] if isinstance(names, tuple) else f"class {heatmap.class_index}"
    click.echo(f"{label(model)}: {name}, {heatmap}")
    analysis.save(analysis.draw_cam(heatmap, f"{label(model)}: {name}"), output)


@inspect.command("features", cls=Command)
@on_one_image
@click.option("--stage", type=click.IntRange(1), default=1, show_default=True)
def feature_maps(model, output, stage, preprocessing, **given):
    """What a stage makes of an image, channel by channel."""
    expect_one_image(**given)
    analysis = start_analysis()
    maps = analysis.feature_maps(loaded(model), one_image(**given), stage, preprocessing=preprocessing)
    click.echo(f"{label(model)}, stage {stage}: {'x'.join(map(str, maps.shape))}")
    analysis.save(analysis.draw_features(maps, f"{label(model)}, stage {stage}"), output)


@inspect.command(cls=Command)
@one_model
@click.option("--size", type=click.IntRange(1), help="Height and width in pixels, for a model that takes any size.")
@output
def drawing(model, size, output):
    """The network's blocks, widths and strides on a page, equal blocks folded into one."""
    analysis = start_analysis()
    network = loaded(model)
    boxes = analysis.drawing(network, None if size is None else (size, size, network.input_shape[-1]))
    click.echo("\n".join(map(str, boxes)))
    analysis.save(analysis.draw_network(boxes, label(model)), output)
