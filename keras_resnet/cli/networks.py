"""Commands about networks: list, summary and convert."""

from pathlib import Path

import click

from keras_resnet.checks import expect
from keras_resnet.cli.options import Command, ZooCommand, classes, expect_model, size, writable
from keras_resnet.cli.start import start_keras
from keras_resnet.files import completed
from keras_resnet.modelcard import card
from keras_resnet.networks import zoo
from keras_resnet.networks.arguments import check_arguments, check_size
from keras_resnet.weights.catalogue import pretrained as checkpoints
from keras_resnet.weights.catalogue import shown


@click.command("list", cls=Command)
@click.argument("pattern", default="*")
@click.option("--count", is_flag=True, help="Build each network and count its parameters and multiply-adds.")
@click.option("--pretrained", is_flag=True, help="List their public weights instead, with accuracy and licence.")
def list_networks(pattern, count, pretrained):
    """List the networks whose names match PATTERN, such as 'resnext*'."""
    if pretrained:
        list_checkpoints(pattern)
    else:
        list_rows(pattern, count)


def list_rows(pattern: str, count: bool) -> None:
    names = zoo.names(pattern)
    if not names:
        raise click.UsageError(f"No network matches {pattern!r}. `keras-resnet list` shows all.")
    if count:
        start_keras()
    width = max(map(len, names))
    for name in names:
        image = "x".join(map(str, zoo.NETWORKS[name].input_shape))
        cost = f"  {counted(name)}" if count else ""
        click.echo(f"{name:{width}}  {image:>9}{cost}  {zoo.paper(name)}")


def list_checkpoints(pattern: str) -> None:
    rows = checkpoints(pattern)
    if not rows:
        raise click.UsageError(f"No checkpoint matches {pattern!r}. `keras-resnet list --pretrained` shows all.")
    click.echo(rows)
    click.echo('\nTop-1 and top-5 in % on ImageNet\'s validation images. * is what `weights="imagenet"` loads.')


def counted(name: str) -> str:
    from keras_resnet.graph.complexity import complexity
    from keras_resnet.graph.initialization import without_weights

    with without_weights():
        costs = complexity(zoo.build(name))
    return f"{costs.trainable_params:>11,} params  {costs.macs:>14,} MACs"


@click.command(cls=ZooCommand)
@click.argument("name")
@size
@classes
def summary(name, size, classes, config_changes):
    """Show the layers, parameters and multiply-adds of network NAME, with any field of its row changed."""
    config, image = zoo.row(name, **config_changes), square(size)
    check_size(size, config)
    start_keras()
    from keras_resnet.graph.complexity import complexity
    from keras_resnet.graph.initialization import without_weights

    with without_weights():
        click.echo(complexity(zoo.build(config, name=name, classes=classes, input_shape=image)))


def square(size: int | None) -> tuple[int, int, int] | None:
    """The shape of such images."""
    return None if size is None else (size, size, 3)


@click.command(cls=ZooCommand)
@click.argument("source")
@click.argument("name", required=False)
@click.argument("out", required=False, type=click.Path(dir_okay=False, path_type=Path), callback=writable)
@click.option(
    "--to",
    type=(click.Choice(["torch"]), click.Path(dir_okay=False, path_type=Path)),
    metavar="torch FILE",
    help="Write the weights of SOURCE, a .keras file, to FILE, a .safetensors file, under torchvision's names.",
)
@classes
@size
@click.option(
    "--channel-order",
    type=click.Choice(["RGB", "BGR"]),
    help="Of the images that SOURCE's network was trained on; by default that of its project's networks.",
)
def convert(source, name, out, to, classes, size, channel_order, config_changes):
    """Load SOURCE, another project's weights, into network NAME, and save it as OUT, a .keras file.

    SOURCE is imagenet, a tag that `list --pretrained NAME` shows, hf://owner/repo, or a file of torch, safetensors,
    Caffe or Keras. Fields of the network's row that the weights imply are set for you.

    With --to torch FILE there is neither NAME nor OUT.
    """
    if to:
        expect(name is None, "name", "nothing with --to", name)
        convert_to_torch(Path(source), to[1])
    else:
        expect(out, "out", "NAME and OUT, or --to torch FILE", out)
        settings = dict(classes=classes, input_shape=square(size), channel_order=channel_order)
        convert_to_keras(source, name, out, size, settings, config_changes)


def convert_to_keras(source, name, out, size, settings, config_changes):
    expect(out.suffix == ".keras" and out.parent.is_dir(), "out", "a path in a folder, that ends in .keras", str(out))
    config = zoo.row(name, **config_changes)
    check_size(size, config)
    check_arguments(config, None, source, network=name)
    start_keras()
    from keras_resnet.graph.remake import portable

    with completed(out) as path:
        model = zoo.build(name, weights=source, **settings, **config_changes)
        portable(model).save(path)
    known = card(model)
    click.echo(f"{out}: {name}, {model.count_params():,} parameters, weights of {known.weights}")
    click.echo(f"Licence of the weights: {shown(known.licence)}")
    click.echo(f"Preprocessing: {known.preprocessing or 'unknown'}")


def convert_to_torch(source: Path, file: Path) -> None:
    expect_model(source)
    start_keras()
    from keras_resnet.networks.loading import load_model
    from keras_resnet.weights.torch_out import to_torch

    model = load_model(source)
    click.echo(f"{to_torch(model, file)}: {model.name}, for `load_state_dict(strict=True)`")
