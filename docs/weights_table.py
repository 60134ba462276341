"""Rewrites the tables in docs/weights.md from the readers and the schemes: python docs/weights_table.py."""

import os
from fnmatch import fnmatchcase
from pathlib import Path

from keras_resnet import NETWORKS
from keras_resnet.weights import FORMATS, SCHEMES

PAGE = Path(__file__).with_name("weights.md")


def formats():
    yield "| source | what is read |"
    yield "| --- | --- |"
    for reader in dict.fromkeys(FORMATS.values()):
        suffixes = ", ".join(f"`{suffix}`" for suffix, of in FORMATS.items() if of is reader)
        yield f"| {suffixes} | {reader.__doc__.splitlines()[0]} |"


def schemes():
    yield "| names of | networks | reads | epsilon | usual preprocessing |"
    yield "| --- | --- | --- | --- | --- |"
    for scheme in SCHEMES:
        found = [name for name in NETWORKS if any(fnmatchcase(name, pattern) for pattern in scheme.networks)]
        networks = "all" if len(found) == len(NETWORKS) else ", ".join(f"`{name}`" for name in found) or "none"
        epsilon = f"{scheme.epsilon:g}" if scheme.epsilon else "the model's"
        reads = "BGR" if scheme.bgr else "RGB"
        yield f"| {scheme.title} | {networks} | {reads} | {epsilon} | {scheme.preprocessing or 'the source tells'} |"


def written(page: str) -> str:
    for name, rows in {"formats": formats, "schemes": schemes}.items():
        before, _, rest = page.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition(f"<!-- /{name} -->\n")
        page = f"{before}<!-- {name} -->\n" + "\n".join(rows()) + "\n" + end + after
    return page


if __name__ == "__main__":
    partial = PAGE.with_suffix(".partial")
    partial.write_text(written(PAGE.read_text()))
    os.replace(partial, PAGE)
