"""Writes the tables that the pages show, from the code and from trained runs: `python docs/tables.py [NAME ...]`.

A table stands in its page between `<!-- NAME -->` and `<!-- end -->`. The names are the keys of TABLES; without any,
all tables are written. Counting the networks takes minutes.
"""

import inspect
import sys
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

import keras_resnet
from keras_resnet import NETWORKS, RECIPES, Recipe, applications
from keras_resnet.files import replaced
from keras_resnet.graph.initialization import without_weights
from keras_resnet.modelcard import Card
from keras_resnet.networks.zoo import PAPERS
from keras_resnet.weights import FORMATS, SCHEMES
from keras_resnet.weights.catalogue import is_noncommercial, shown

sys.path.insert(0, str(Path(__file__).parent))
from claims import RUNS, claims

ROOT = Path(__file__).parent.parent


def networks() -> Iterator[str]:
    yield "| name | function | parameters | multiply-adds | input | best public top-1 |"
    yield "| --- | --- | ---: | ---: | --- | --- |"
    for paper, configs in PAPERS.items():
        yield f"| **[{paper.authors}](https://arxiv.org/abs/{paper.arxiv})** | {paper.title} | | | | |"
        for name in configs:
            with without_weights():
                costs = keras_resnet.complexity(keras_resnet.build(name))
            yield network(name, costs.trainable_params, costs.macs)


def network(name: str, params: int, macs: int) -> str:
    size = "x".join(map(str, NETWORKS[name].input_shape))
    return f"| `{name}` | `{functions()[name]}` | {params:,} | {macs:,} | {size} | {best(name)} |"


def best(name: str) -> str:
    """The highest published top-1 of the network's checkpoints, and its tag; † is for non-commercial use only."""
    rows = [row for row in keras_resnet.pretrained(name) if row.top1]
    if not rows:
        return ""
    row = max(rows, key=lambda row: row.top1)
    return f"{row.top1:.1f} % `{row.tag}`{' †' * is_noncommercial(row.licence)}"


def catalogue() -> Iterator[str]:
    yield "| network | `weights=` | top-1 | top-5 | pixels | crop | interpolation | normalization | licence | source |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | --- | --- | --- | --- |"
    for row in keras_resnet.pretrained():
        default = ' = `"imagenet"`' if row.is_default else ""
        top1, top5 = (f"{value:.2f}" if value else "" for value in (row.top1, row.top5))
        yield (
            f"| `{row.network}` | `{row.tag}`{default} | {top1} | {top5} | {row.size} | {row.crop:g} "
            f"| {row.interpolation} | {row.normalization} | {shown(row.licence)} | {row.source} |"
        )


def functions() -> dict[str, str]:
    """Network -> its function."""
    makers = {name: getattr(applications, name) for name in applications.__all__}
    return {inspect.signature(maker).parameters["name"].default: name for name, maker in makers.items()}


def recipes() -> Iterator[str]:
    yield "| recipe | of | epochs | batch | rate | L2 | augmentation |"
    yield "| --- | --- | ---: | ---: | --- | --- | --- |"
    for name, row in RECIPES.items():
        yield recipe(name, row)


def recipe(name: str, row: Recipe) -> str:
    slices = f" of {row.steps_per_epoch} steps" if row.steps_per_epoch else ""
    schedule = f" at {', '.join(map(str, row.drops))}" if row.schedule == "steps" else ""
    steps = [*([row.view] if row.view else []), *row.augment]
    decay = f"{row.weight_decay:g}{' on kernels' if row.decays == 'kernels' else ''}"
    return (
        f"| `{name}` | {row.about} | {row.epochs}{slices} | {row.batch_size} "
        f"| {row.lr:g}, {row.schedule}{schedule} | {decay} | {', '.join(steps)} |"
    )


def formats() -> Iterator[str]:
    yield "| source | what is read |"
    yield "| --- | --- |"
    for reader in dict.fromkeys(FORMATS.values()):
        suffixes = ", ".join(f"`{suffix}`" for suffix, of in FORMATS.items() if of is reader)
        yield f"| {suffixes} | {reader.__doc__.splitlines()[0]} |"


def schemes() -> Iterator[str]:
    yield "| names of | networks | reads | epsilon | usual preprocessing |"
    yield "| --- | --- | --- | --- | --- |"
    for scheme in SCHEMES:
        fitting = [name for name in NETWORKS if any(fnmatchcase(name, pattern) for pattern in scheme.networks)]
        names = "all" if len(fitting) == len(NETWORKS) else ", ".join(f"`{name}`" for name in fitting) or "none"
        epsilon = f"{scheme.epsilon:g}" if scheme.epsilon else "the model's"
        reads = "BGR" if scheme.bgr else "RGB"
        yield f"| {scheme.title} | {names} | {reads} | {epsilon} | {scheme.preprocessing or 'the source tells'} |"


def results() -> Iterator[str]:
    yield "| command | test error | printed | epochs | seed | precision | hours | on |"
    yield "| --- | ---: | ---: | ---: | ---: | --- | ---: | --- |"
    for row in RUNS.values():
        yield result(row)


def result(row: Mapping[str, str]) -> str:
    """Of a row of `runs.csv`."""
    command, folder = f"`keras-resnet {row['command']}`", ROOT / "saved_models" / row["folder"]
    if not (folder / "card.json").exists():
        return f"| {command} | not run | {row['published']} | | | | | |"
    card = Card.from_json((folder / "card.json").read_text())
    reached, hours = 100 * (1 - card.metrics["accuracy"]), card.metrics["training_seconds"] / 3600
    return (
        f"| {command} | {reached:.2f} % | {row['published']} | {card.recipe['epochs']} | {card.seed} "
        f"| {card.recipe['precision']} | {hours:.2f} | {card.hardware} |"
    )


TABLES = {  # the page, and what makes the lines
    "networks": ("README.md", networks),
    "recipes": ("docs/training.md", recipes),
    "catalogue": ("docs/weights.md", catalogue),
    "formats": ("docs/weights.md", formats),
    "schemes": ("docs/weights.md", schemes),
    "results": ("docs/results.md", results),
    "claims": ("docs/papers.md", claims),
}


def written(page: str, name: str) -> str:
    """The page, with the table of that name as it is now."""
    lines = "".join(f"{line}\n" for line in TABLES[name][1]())
    before, begin, rest = page.partition(f"<!-- {name} -->\n")
    _, end, after = rest.partition("<!-- end -->")
    if not end:
        raise ValueError(f"The page has no <!-- {name} --> with an <!-- end --> behind it.")
    return before + begin + lines + end + after


def main(*names: str) -> None:
    for name in names or TABLES:
        page = ROOT / TABLES[name][0]
        with replaced(page) as partial:
            partial.write_text(written(page.read_text(), name))


if __name__ == "__main__":
    main(*sys.argv[1:])
