"""Whether a search for width and depth beats the obvious networks under the same budget of multiply-adds.

    python docs/search_proof.py --data cifar10 runs/search_proof

Two baselines: widths 16, 32, 64 at the deepest that fits the budget, and ResNet-20 with all widths scaled to fit.
Searches around the first on a part of the training images, and trains the best by its validation accuracy and both
baselines under the same recipe on all of that part. Three seeds each, measured on the whole test. Every run that has
ended is in `results.json` of the folder, so that the same command goes on after a kill; the table is printed, and is
`table.md`.
"""

import json
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev

import click
import keras

from keras_resnet import NETWORKS, RECIPES, ResNetConfig, complexity, evaluate, load_data, resnet, search, train
from keras_resnet.cli.options import Amount
from keras_resnet.data.sources import held_out
from keras_resnet.files import write_json
from keras_resnet.tuning.spaces import SPACES

BASE = NETWORKS["resnet20"]
DEEP = "16, 32, 64, the deepest"
DEEPEST, SCALES = 100, 64  # blocks a stage, and widths a step of 1/16, up to which the baselines are looked for


def stages(blocks: int, filters) -> ResNetConfig:
    return replace(BASE, stages=tuple((width,) * blocks for width in filters), stem_filters=filters[0])


def largest(candidates, most: float, source) -> ResNetConfig:
    """The last that fits of networks that grow."""
    found = None
    for config in candidates:
        if complexity(resnet(config, input_shape=source.shape, classes=source.classes)).macs > most:
            break
        found = config
    if found is None:
        raise click.UsageError("No baseline fits --max-macs.")
    return found


def baselines(most: float, source) -> dict[str, ResNetConfig]:
    deep = (stages(blocks, (16, 32, 64)) for blocks in range(1, DEEPEST))
    wide = (stages(3, (step, 2 * step, 4 * step)) for step in range(1, SCALES))
    return {DEEP: largest(deep, most, source), "ResNet-20, scaled": largest(wide, most, source)}


def trained(config: ResNetConfig, source, recipe, seed: int, folder: Path) -> float:
    """The accuracy on the test, in %."""
    keras.utils.set_random_seed(seed)
    model = resnet(config, input_shape=source.shape, classes=source.classes, classifier_activation=None)
    train(model, source, recipe, folder, seed=seed, resume=True, verbose=2)
    return 100 * evaluate(model, source).top1


def row(name: str, config: ResNetConfig, source, accuracies: list[float]) -> str:
    costs = complexity(resnet(config, input_shape=source.shape, classes=source.classes))
    shown = " / ".join(f"{len(stage)} x {stage[0]}" for stage in config.stages)
    spread = f" ± {stdev(accuracies):.2f}" if len(accuracies) > 1 else ""
    return f"| {name} | {shown} | {costs.params:,} | {costs.macs:,} | {mean(accuracies):.2f}{spread} |"


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--data", default="cifar10", show_default=True)
@click.option("--data-dir")
@click.option("--images", default=5000, show_default=True, help="Of the training images.")
@click.option("--epochs", default=10, show_default=True)
@click.option("--trials", default=30, show_default=True)
@click.option("--max-macs", type=Amount(), default="13M", show_default=True,
              help="13M: both baselines come within 6 % of it.")  # fmt: skip
@click.option("--validation", default=0.2, show_default=True, help="Share of the images that score the trials.")
@click.option("--tuner", default="bayesian", show_default=True)
@click.option("--recipe", default="fast", show_default=True)
@click.option("--seeds", default=3, show_default=True)
def main(folder, data, data_dir, images, epochs, trials, max_macs, validation, tuner, recipe, seeds):
    whole = load_data(data, data_dir=data_dir)
    part = held_out(whole.train, images)[1] if images < len(whole.train) else whole.train
    source = replace(whole, train=part, validation=None)
    shortened = replace(RECIPES[recipe], epochs=epochs)
    known = baselines(max_macs, source)

    def width_depth(hp):
        return SPACES["width_depth"](hp, known[DEEP], shortened)

    found = search(width_depth, source, folder / "search", max_macs=max_macs, trials=trials, tuner=tuner,
                   validation=validation, resume=True)  # fmt: skip
    networks = {**known, "found by the search": ResNetConfig(**found.best["config"])}
    results = folder / "results.json"
    done = json.loads(results.read_text()) if results.exists() else {}
    for seed in range(seeds):  # in turns, so that a table of fewer seeds is there early
        for name, config in networks.items():
            key = f"{name}, seed {seed}"
            if key not in done:
                done[key] = trained(config, source, shortened, seed, folder / key.replace(", ", "-").replace(" ", "_"))
                write_json(results, done)
    accuracies = {name: [done[f"{name}, seed {seed}"] for seed in range(seeds)] for name in networks}
    head = [f"| network | blocks x width | parameters | multiply-adds | test accuracy (%), {seeds} seeds |",
            "| --- | --- | ---: | ---: | ---: |"]  # fmt: skip
    table = "\n".join(head + [row(name, config, source, accuracies[name]) for name, config in networks.items()])
    (folder / "table.md").write_text(table + "\n")
    print(table)


if __name__ == "__main__":
    main()
