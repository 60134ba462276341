"""The command `keras-resnet`. A command is imported when it is called; Keras and TensorFlow, when it computes."""

from importlib import import_module

import click

import keras_resnet

COMMANDS = {  # in the order of `--help`: the module and the function
    "list": "networks.list_networks",
    "summary": "networks.summary",
    "train": "training.train",
    "evaluate": "training.evaluate",
    "check": "training.check",
    "search": "searching.search",
    "convert": "networks.convert",
    "export": "serving.export",
    "predict": "serving.predict",
    "inspect": "analysis.inspect",
}


class LazyGroup(click.Group):
    """A group of the commands in COMMANDS."""

    def list_commands(self, ctx):
        return list(COMMANDS)

    def get_command(self, ctx, name):
        if name not in COMMANDS:
            return None
        module, function = COMMANDS[name].split(".")
        return getattr(import_module(f"keras_resnet.cli.{module}"), function)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(keras_resnet.__version__)
def main():
    """Residual networks for Keras, exact to the published parameter and multiply-add."""
