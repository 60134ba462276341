"""Commands about trained networks in use: export and predict."""

from pathlib import Path

import click

from keras_resnet.checks import printable
from keras_resnet.cli.options import (
    DATA,
    FILE,
    Command,
    data_option,
    model_argument,
    on_error,
    preprocessing,
    writable,
)
from keras_resnet.cli.start import silent, start_keras, start_tensorflow
from keras_resnet.files import expect_export_folder, locked, version_folder
from keras_resnet.modelcard import card


@click.command(cls=Command)
@model_argument("model")
@click.argument("path", type=click.Path(path_type=Path), callback=writable)
@click.option(
    "--format",
    "formats",
    type=click.Choice(["saved_model", "keras", "litert", "litert_float16", "litert_int8", "onnx"]),
    multiple=True,
    default=["saved_model"],
    show_default=True,
    help="Repeat the option for several.",
)
@data_option(f"Measure the formats' accuracy on these images, and calibrate int8 with them: {DATA}")
@on_error
@preprocessing
@click.option("--fold/--no-fold", default=True, show_default=True, help="Fold batch norms into the convolutions.")
@click.option(
    "--device",
    type=click.Choice(["cpu", "gpu"]),
    default="cpu",
    show_default=True,
    help="What it is for: cpu runs everywhere, gpu has a GPU's kernel for grouped convolutions.",
)
@click.option(
    "--precision",
    type=click.Choice(["float32", "bfloat16"]),
    default="float32",
    show_default=True,
    help="Of the convolutions of saved_model; bfloat16 is faster where the processor or GPU multiplies it.",
)
@click.option("--version", default="1", show_default=True, help="A number, or next.")
@click.option("--overwrite", is_flag=True, help="Replace that version if it exists.")
def export(model, path, version, overwrite, data, data_dir, on_error, **given):
    """Write MODEL, a .keras file, to PATH/1 for serving, and check it on real images in a separate process."""
    where = {"version": int(version) if version.isdecimal() else version, "overwrite": overwrite}
    expect_export_folder(path)
    with locked(path):
        version_folder(path, **where)
        start_tensorflow()
        from keras_resnet.data import load_data
        from keras_resnet.networks.loading import load_model
        from keras_resnet.serving.export import export

        source = load_data(data, data_dir=data_dir, on_error=on_error) if data else None
        folder = export(load_model(model), path, data=source, **where, **given)
    for name, measured in card(folder).exports.items():
        click.echo(f"{folder / measured['file']}: {name}, {results(measured)}")


def results(measured: dict) -> str:
    """What the card says of a format."""
    accuracy = f", accuracy {measured['accuracy']:.2%}" if "accuracy" in measured else ""
    difference = f"differs by up to {measured['difference']:.1g}"
    return f"{measured['bytes']:,} bytes, {difference}, {measured['milliseconds']} ms an image{accuracy}"


@click.command(cls=Command)
@model_argument("model")
@click.argument("images", nargs=-1, required=True, type=FILE)
@preprocessing
@click.option("--top", type=click.IntRange(1), default=5, show_default=True, help="Classes an image.")
def predict(model, images, preprocessing, top):
    """Name what is in IMAGES with MODEL, a .keras file."""
    start_keras(and_tensorflow=True)
    import numpy as np

    from keras_resnet import predict as prediction
    from keras_resnet.data import read_image
    from keras_resnet.networks.loading import load_model

    network = load_model(model)
    prepare = prediction.preprocessing(network, preprocessing)
    with silent():  # TensorFlow's decoders print what is wrong too
        pixels = [read_image(image, network.input_shape[-1]) for image in images]
    probabilities = np.concatenate([prediction.probabilities(network, prepare(image[None])) for image in pixels])
    for image, best in zip(images, named(probabilities, top, network), strict=True):
        click.echo(printable(image))
        for _, name, probability in best:
            click.echo(f"  {probability:6.1%}  {printable(name)}")


def named(probabilities, top, network):
    """The likeliest classes, by number where their names cannot be downloaded."""
    from keras_resnet.predict import decode_predictions, likeliest

    try:
        return decode_predictions(probabilities, top, network)
    except ConnectionError as error:
        click.echo(f"{error}. Classes are shown by number.", err=True)
        return likeliest(probabilities, top)
