"""The command `keras-resnet`: list, summary, train, evaluate, check, search, convert, export, predict, inspect."""

import json
from ast import literal_eval
from contextlib import suppress
from dataclasses import fields
from functools import reduce
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import click
import keras
import numpy as np

from keras_resnet._version import __version__
from keras_resnet.checks import ArgumentError, expect
from keras_resnet.files import completed
from keras_resnet.graph.complexity import complexity
from keras_resnet.graph.loading import load_model
from keras_resnet.graph.remake import portable
from keras_resnet.modelcard import PREPROCESSINGS, card
from keras_resnet.networks import zoo
from keras_resnet.predict import decode_predictions, likeliest, probabilities
from keras_resnet.predict import preprocessing as preprocessing_of


class ConfigOption(click.Option):
    """An option that changes one field of a network's row."""


def config_options() -> list[ConfigOption]:
    """One for every field of any family's row; of a field that several have, with the keys of all."""
    rows: dict[str, list[tuple[str, Any]]] = {}
    for config in zoo.BUILDERS:
        for field in fields(config):
            rows.setdefault(field.name, []).append((config.__name__, field.type))
    del rows["image_size"]  # the published size, not that of a run
    return [config_option(name, *zip(*families, strict=True)) for name, families in rows.items()]


def config_option(name: str, families: tuple[str, ...], annotations: tuple[Any, ...]) -> ConfigOption:
    flag, text = f"--{name.replace('_', '-')}", f"Field of {', '.join(families)}."
    if annotations[0] is bool:
        return ConfigOption([f"{flag}/--no-{flag[2:]}"], default=None, help=text)
    return ConfigOption([flag], type=option_type(annotations), default=None, help=text)


def option_type(annotations: tuple[Any, ...]) -> Any:
    if get_origin(annotations[0]) is Literal:
        return click.Choice(list(dict.fromkeys(key for literal in annotations for key in get_args(literal))))
    return JsonList() if get_origin(annotations[0]) is tuple else annotations[0]


class JsonList(click.ParamType):
    name = "JSON"

    def convert(self, value, param, ctx):
        try:
            parsed = json.loads(value)
        except json.JSONDecodeError:
            parsed = None
        if not isinstance(parsed, list):
            self.fail(f"{value!r} is not a list such as [[16, 16], [32, 32]]", param, ctx)
        return parsed


class Command(click.Command):
    """Our own errors become its."""

    def invoke(self, ctx):
        try:
            return super().invoke(ctx)
        except ArgumentError as error:
            raise click.UsageError(str(error)) from error
        except (ArithmeticError, OSError) as error:
            raise click.ClickException(str(error)) from error


class ZooCommand(Command):
    """A command with an option for every field of a row."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.params += config_options()

    def invoke(self, ctx):
        given = {param.name: ctx.params.pop(param.name) for param in self.params if isinstance(param, ConfigOption)}
        ctx.params["config_changes"] = {name: value for name, value in given.items() if value is not None}
        return super().invoke(ctx)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main():
    """Residual networks for Keras, exact to the published parameter and multiply-add."""


@main.command("list")
@click.argument("pattern", default="*")
@click.option("--count", is_flag=True, help="Build each network and count its parameters and multiply-adds.")
def list_networks(pattern, count):
    """List the networks whose names match PATTERN, such as 'resnext*'."""
    found = zoo.names(pattern)
    if not found:
        raise click.UsageError(f"No network matches {pattern!r}. `keras-resnet list` shows all.")
    wide = max(map(len, found))
    for name in found:
        size = "x".join(map(str, zoo.NETWORKS[name].input_shape))
        cost = f"  {counted(name)}" if count else ""
        click.echo(f"{name:{wide}}  {size:>9}{cost}  {zoo.paper(name)}")


def counted(name: str) -> str:
    costs = complexity(zoo.build(name))
    return f"{costs.trainable_params:>11,} params  {costs.macs:>14,} MACs"


@main.command(cls=ZooCommand)
@click.argument("name")
@click.option("--size", type=int, help="Height and width of the images in pixels; the published ones by default.")
@click.option("--classes", type=int, help="Outputs; the published number by default.")
def summary(name, size, classes, config_changes):
    """Show the layers, parameters and multiply-adds of network NAME, with any field of its row changed."""
    shape = None if size is None else (size, size, 3)
    click.echo(complexity(zoo.build(name, classes=classes, input_shape=shape, **config_changes)))


DATA = "The built-in digits, a TFDS set such as cifar10, or a folder of images in a folder a class."
data_dir = click.option("--data-dir", help="Where TFDS keeps its sets.")
on_error = click.option("--on-error", type=click.Choice(["raise", "skip"]), default="raise", show_default=True,
                        help="Name the images that cannot be decoded, or leave them out.")  # fmt: skip


class Number(click.ParamType):
    """A whole number where it is one."""

    name = "NUMBER"

    def convert(self, value, param, ctx):
        try:
            number = float(value)
        except ValueError:
            self.fail(f"{value!r} is not a number", param, ctx)
        return int(number) if number.is_integer() else number


def settings(ctx, param, given):
    """KEY=VALUE ... as a dict, values as in JSON; a value that is none is a string."""
    found = {}
    for setting in given:
        key, equals, value = setting.partition("=")
        if not (key and equals):
            raise click.BadParameter(f"{setting!r} is not KEY=VALUE", ctx, param)
        if key in found:
            raise click.BadParameter(f"{key} is given twice", ctx, param)
        found[key] = value_of(value)
    return found


def value_of(text: str) -> Any:
    """As JSON or Python writes it, or else the text."""
    for parse in (json.loads, literal_eval):
        with suppress(ValueError, SyntaxError):
            return parse(text)
    return text


@main.command(cls=ZooCommand)
@click.argument("network", required=False)
@click.option("--data", default="digits", show_default=True, help=DATA)
@data_dir
@on_error
@click.option("--validation", type=Number(), help="Share or number of training images held out to choose the epoch.")
@click.option("--recipe", help="One of keras_resnet.RECIPES, such as he2015_cifar; by the data where none is given.")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE ...", help="Fields of the recipe: epochs=20 lr=0.1")
@click.argument("more", nargs=-1, metavar="")
@click.option("--weights", help="Start from these: a file, hf://owner/repo or imagenet.")
@click.option(
    "--freeze",
    help="stem, a stage such as stage3, or head: up to there all stays as it is in the first half of "
    "the epochs; then everything does, at a tenth of the rate.",
)
@click.option("--size", type=int, help="Height and width of the images in pixels.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
@click.option("--remat", is_flag=True, help="Compute each block again going back: less memory, longer steps.")
@click.option(
    "--strategy",
    type=click.Choice(["auto", "none", "mirrored", "multi_worker"]),
    default="auto",
    show_default=True,
    help="Devices and machines that share a batch.",
)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default="saved_models",
    show_default=True,
    help="The run gets a new folder in here.",
)
@click.option(
    "--resume", is_flag=True, help="Take up the killed run of this network and data in the output folder, or start it."
)
def train(network, more, changes, output, resume, config_changes, **given):
    """Train NETWORK, evaluate and export it, and show that the export predicts.

    Without arguments: a ResNet-20 on 1,797 real handwritten digits, in about a minute, without a download.
    """  # fmt: skip
    needs_tensorflow()
    from keras_resnet.experiment import Run, experiment  # needs TensorFlow, which a list or a summary does not

    if network and "=" in network:  # behind --set without a network
        network, more = None, (network, *more)
    known = settings(click.get_current_context(), None, (*changes, *more))
    run = Run(network=network or "resnet20", changes=known, config=config_changes, **given)
    experiment(run, output, resume=resume)


def needs_tensorflow():
    backend = keras.config.backend()
    expect(
        backend == "tensorflow", "KERAS_BACKEND", "'tensorflow', which reads the data and writes the export", backend
    )


@main.command(cls=Command)
@click.argument("model", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--data", required=True, help=DATA)
@data_dir
@on_error
@click.option("--split", type=click.Choice(["test", "validation", "train"]), default="test", show_default=True)
@click.option("--preprocessing", type=click.Choice(list(PREPROCESSINGS)), help="Where the model's card does not say.")
@click.option("--view", type=click.Choice(["center", "ten_crop", "multi_scale"]), default="center", show_default=True)
@click.option("--confusion", type=click.Path(dir_okay=False, path_type=Path), help="A PNG of the confusion matrix.")
def evaluate(model, data, data_dir, on_error, split, preprocessing, view, confusion):
    """Measure MODEL, a .keras file, on --data: top-1, top-5, loss, and every class."""
    needs_tensorflow()
    from keras_resnet.analysis.figures import expect_new_figure
    from keras_resnet.analysis.plots import plot_confusion
    from keras_resnet.data import load_data
    from keras_resnet.training import evaluate

    if confusion:
        expect_new_figure(confusion, "confusion")
    source = load_data(data, data_dir=data_dir, on_error=on_error)
    found = evaluate(load_model(model), source, split, preprocessing, view=view)
    click.echo(found)
    if confusion:
        plot_confusion(found.confusion, found.class_names, confusion, f"{model.name} on {data}")


@main.command(cls=Command)
@click.argument("data")
@data_dir
@click.pass_context
def check(ctx, data, data_dir):
    """Decode every image of DATA, and name those that cannot be read."""
    needs_tensorflow()
    from keras_resnet.data import check, load_data

    report = check(load_data(data, data_dir=data_dir, on_error="ignore"))
    click.echo(report)
    ctx.exit(1 if report.unreadable else 0)


class Amount(click.ParamType):
    """A number, or one with k, M or G behind it."""

    name = "NUMBER[k|M|G]"

    def convert(self, value, param, ctx):
        text = str(value)
        digits, factor = (text[:-1], SUFFIXES[text[-1]]) if text[-1:] in SUFFIXES else (text, 1)
        try:
            return round(float(digits) * factor)
        except (OverflowError, ValueError):
            self.fail(f"{value!r} is not a number such as 500k or 5M", param, ctx)


SUFFIXES = {"k": 1_000, "M": 1_000_000, "G": 1_000_000_000}


@main.command(cls=Command)
@click.option("--data", default="digits", show_default=True, help=DATA)
@data_dir
@on_error
@click.option("--validation", type=Number(), help="Share or number of training images held out to score the trials.")
@click.option("--space", default="width_depth", show_default=True,
              help="width_depth, shortcut_order, cardinality, regularization or optimizer.")  # fmt: skip
@click.option("--network", help="The row that the space changes; resnet20 by default.")
@click.option("--max-params", type=Amount(), help="Most parameters of a network.")
@click.option("--max-macs", type=Amount(), help="Most multiply-adds for one image.")
@click.option("--max-latency-ms", type=float, help="Most milliseconds for one image, on this machine.")
@click.option("--trials", type=int, default=10, show_default=True, help="Networks to train.")
@click.option("--tuner", type=click.Choice(["random", "bayesian", "hyperband", "grid"]), default="random",
              show_default=True)  # fmt: skip
@click.option("--patience", type=int, help="Epochs without a lower validation loss that end a trial; by default half.")
@click.option("--recipe", help="One of keras_resnet.RECIPES, such as fast; by the data where none is given.")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE ...", help="Fields of the recipe: epochs=20 lr=0.1")
@click.argument("more", nargs=-1, metavar="")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
@click.option("--strategy", type=click.Choice(["auto", "none", "mirrored"]), default="auto", show_default=True,
              help="Devices that share a trial's batch.")  # fmt: skip
@click.option("--output", type=click.Path(file_okay=False, path_type=Path),
              help="The search's folder; by default searches/SPACE-DATA.")  # fmt: skip
@click.option("--resume", is_flag=True, help="Take up the killed search of the folder, or start it.")
@click.option("--retrain", is_flag=True,
              help="Train the best again for all epochs, also on what the search itself held out.")  # fmt: skip
def search(data, space, more, changes, output, **given):
    """Train networks of a space within budgets, and export the best.

    Without arguments: ten widths and depths of ResNet-20 on the built-in digits, in minutes.
    """
    needs_tensorflow()
    from keras_resnet.tuning.outcome import SearchError
    from keras_resnet.tuning.search import search

    known = settings(click.get_current_context(), None, (*changes, *more))
    folder = output or Path("searches", f"{space}-{Path(data).name}")
    try:
        search(space, data, folder, changes=known, **given)
    except SearchError as error:
        raise click.ClickException(str(error)) from error


@main.command(cls=ZooCommand)
@click.argument("source")
@click.argument("name")
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--classes", type=int, help="Outputs; another number than the source's starts a new classifier.")
@click.option("--size", type=int, help="Height and width of the images in pixels; the published ones by default.")
def convert(source, name, out, classes, size, config_changes):
    """Load SOURCE, another project's weights, into network NAME, and save it as OUT, a .keras file.

    SOURCE is imagenet, hf://owner/repo, or a file of torch, safetensors, Caffe or Keras. The fields of the network's
    row that the weights imply need not be given.
    """
    expect(out.suffix == ".keras" and out.parent.is_dir(), "out", "a path in a folder, that ends in .keras", str(out))
    shape = None if size is None else (size, size, 3)
    with completed(out) as path:
        model = zoo.build(name, weights=source, classes=classes, input_shape=shape, **config_changes)
        portable(model).save(path)
    known = card(model)
    click.echo(f"{out}: {name}, {model.count_params():,} parameters, weights of {known.weights}")
    click.echo(f"Reads images by {known.preprocessing or 'a preprocessing that the source does not tell'}")


@main.command(cls=Command)
@click.argument("model", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "formats",
    multiple=True,
    default=["saved_model"],
    show_default=True,
    help="saved_model, keras, litert, litert_float16, litert_int8 or onnx; several by giving it again.",
)
@click.option("--data", help=f"{DATA} Measures the formats' accuracy, and calibrates int8.")
@data_dir
@on_error
@click.option("--preprocessing", type=click.Choice(list(PREPROCESSINGS)), help="Where the model's card does not say.")
@click.option("--fold/--no-fold", default=True, show_default=True, help="Batch norms go into the convolutions.")
@click.option("--version", default="1", show_default=True, help="A number, or next.")
@click.option("--overwrite", is_flag=True, help="Let it take the place of that version.")
def export(model, path, version, data, data_dir, on_error, **given):
    """Write MODEL, a .keras file, to PATH/1 for serving, checked on real images in a process of its own."""
    needs_tensorflow()
    from keras_resnet.data import load_data
    from keras_resnet.serving.export import export

    source = load_data(data, data_dir=data_dir, on_error=on_error) if data else None
    version = int(version) if version.isdecimal() else version
    folder = export(load_model(model), path, version=version, data=source, **given)
    for name, measured in card(folder).exports.items():
        accuracy = f", accuracy {measured['accuracy']:.2%}" if "accuracy" in measured else ""
        click.echo(f"{folder / measured['file']}: {name}, {measured['bytes']:,} bytes, differs by up to "
                   f"{measured['difference']:.1g}, {measured['milliseconds']} ms an image{accuracy}")  # fmt: skip


@main.command(cls=Command)
@click.argument("model", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("images", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--preprocessing", type=click.Choice(list(PREPROCESSINGS)), help="Where the model's card does not say.")
@click.option("--top", type=click.IntRange(1), default=5, show_default=True, help="Classes an image.")
def predict(model, images, preprocessing, top):
    """Name what is in IMAGES with MODEL, a .keras file."""
    from keras_resnet.data import read_image

    network = load_model(model)
    prepare = preprocessing_of(network, preprocessing)
    pixels = [read_image(image, network.input_shape[-1]) for image in images]
    found = np.concatenate([probabilities(network, prepare(image[None])) for image in pixels])
    for image, best in zip(images, named(found, top, network), strict=True):
        click.echo(image)
        for _, name, probability in best:
            click.echo(f"  {probability:6.1%}  {name}")


def named(found, top, network):
    """By number where the names cannot be had."""
    try:
        return decode_predictions(found, top, network)
    except ConnectionError as error:
        click.echo(f"{error}. Classes are shown by number.", err=True)
        return likeliest(found, top)


@main.group()
def inspect():
    """Draw what a trained MODEL does, as the papers draw it, and print the numbers."""


def label(path: Path) -> str:
    """The run's folder, or the file's name."""
    return path.absolute().parent.name if path.stem == "model" else path.stem


def new_figure(ctx, param, path):
    from keras_resnet.analysis.figures import expect_new_figure

    try:
        needs_tensorflow()
        expect_new_figure(path)
    except ArgumentError as error:
        raise click.UsageError(str(error), ctx) from error
    return path


def decorated(*options):
    """All of these, in their order."""
    return lambda function: reduce(lambda wrapped, option: option(wrapped), reversed(options), function)


KERAS_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
a_model = click.argument("model", type=KERAS_FILE)
split = click.option("--split", type=click.Choice(["test", "validation", "train"]), default="test", show_default=True)
reading = click.option(
    "--preprocessing", type=click.Choice(list(PREPROCESSINGS)), help="Where the model's card does not say."
)
figure = click.option("--output", required=True, type=click.Path(dir_okay=False, path_type=Path), callback=new_figure,
                      help="The figure: a .png, .pdf or .svg where nothing exists yet.")  # fmt: skip
draws = decorated(
    click.option("--repeats", type=click.IntRange(1), help="Draws of each number of blocks."),
    click.option("--seed", type=click.IntRange(0), default=0, show_default=True),
)
on_images = decorated(
    click.argument("models", nargs=-1, required=True, type=KERAS_FILE),
    click.option("--data", required=True, help=DATA), data_dir, on_error, split, reading,
    click.option("--images", type=click.IntRange(1), default=1000, show_default=True, help="Spread over the split."),
    click.option("--batch-size", type=click.IntRange(1), default=100, show_default=True, help="Images at a time."),
    figure,
)  # fmt: skip
on_one_image = decorated(
    a_model,
    click.option("--image", type=KERAS_FILE, help="A JPEG, PNG, GIF or BMP."),
    click.option("--data", help=f"Or an image of these. {DATA}"), data_dir, split,
    click.option("--number", type=click.IntRange(0), default=0, show_default=True, help="Of the image in the split."),
    reading, figure,
)  # fmt: skip


def drawn_together(find, draw, models, output, data, data_dir, on_error, **given):
    """One figure of what is found in each model."""
    from keras_resnet.analysis.figures import save
    from keras_resnet.data import load_data

    names = list(map(label, models))
    expect(len(set(names)) == len(names), "models", "files in folders, or of names, that differ", names)
    source = load_data(data, data_dir=data_dir, on_error=on_error)
    given = {name: value for name, value in given.items() if value is not None}
    found = {name: find(load_model(path), source, **given) for name, path in zip(names, models, strict=True)}
    for name, result in found.items():
        click.echo(f"{name}\n{result}")
    save(draw(found), output)


@inspect.command(cls=Command)
@on_images
def responses(**given):
    """Standard deviations of the layers' responses (He et al. 2015, figure 7)."""
    from keras_resnet import analysis

    drawn_together(analysis.layer_responses, analysis.draw_responses, **given)


@inspect.command(cls=Command)
@on_images
def gradients(**given):
    """Norms of the gradient at the blocks; dashed: without what the shortcuts carry."""
    from keras_resnet import analysis

    drawn_together(analysis.block_gradients, analysis.draw_gradients, **given)


@inspect.command(cls=Command)
@on_images
@draws
@click.option("--count", "counts", type=click.IntRange(1), multiple=True, help="Random blocks to delete; repeatable.")
def lesion(counts, **given):
    """Errors without one block, and without several random ones (Veit et al. 2016, figures 3 and 5a)."""
    from keras_resnet import analysis

    drawn_together(analysis.lesion, analysis.draw_lesion, counts=counts or None, **given)


@inspect.command(cls=Command)
@on_images
@draws
def paths(**given):
    """Lengths of the paths, and the gradient by length (Veit et al. 2016, figure 6)."""
    from keras_resnet import analysis

    drawn_together(analysis.path_gradients, analysis.draw_paths, **given)


def one_image(image, data, data_dir, split, number):
    """The file, or the image of that number."""
    from keras_resnet.analysis import example
    from keras_resnet.data import load_data

    expect((image is None) != (data is None), "image", "either --image or --data", image and str(image))
    return image if data is None else example(load_data(data, data_dir=data_dir), number, split)


@inspect.command(cls=Command)
@on_one_image
@click.option("--class", "target", help="Number or name; the likeliest by default.")
@click.option("--layer", help="Name of the layer whose maps are taken; by default the last that the head pools.")
def cam(model, output, target, layer, preprocessing, **given):
    """Where in an image the model sees a class: Grad-CAM (Selvaraju et al. 2017)."""
    from keras_resnet import analysis

    network, image = load_model(model), one_image(**given)
    known = getattr(card(network), "class_names", None)
    target = int(target) if target and target.isdecimal() and target not in (known or ()) else target
    found = analysis.grad_cam(network, image, target, layer=layer, preprocessing=preprocessing)
    name = known[found.class_index] if isinstance(known, tuple) else f"class {found.class_index}"
    click.echo(f"{label(model)}: {name}, {found}")
    analysis.save(analysis.draw_cam(found, f"{label(model)}: {name}"), output)


@inspect.command("features", cls=Command)
@on_one_image
@click.option("--stage", type=click.IntRange(1), default=1, show_default=True)
def feature_maps(model, output, stage, preprocessing, **given):
    """What a stage makes of an image, channel by channel."""
    from keras_resnet import analysis

    maps = analysis.feature_maps(load_model(model), one_image(**given), stage, preprocessing=preprocessing)
    click.echo(f"{label(model)}, stage {stage}: {'x'.join(map(str, maps.shape))}")
    analysis.save(analysis.draw_features(maps, f"{label(model)}, stage {stage}"), output)


@inspect.command(cls=Command)
@a_model
@click.option("--size", type=click.IntRange(1), help="Height and width in pixels, of a model that takes any.")
@figure
def drawing(model, size, output):
    """The network's blocks, widths and strides on a page, equal blocks folded into one."""
    from keras_resnet import analysis

    network = load_model(model)
    boxes = analysis.drawing(network, None if size is None else (size, size, network.input_shape[-1]))
    click.echo("\n".join(map(str, boxes)))
    analysis.save(analysis.draw_network(boxes, label(model)), output)
