"""Rewrites the table of networks in README.md from built and counted models: python docs/network_table.py (minutes)."""

import inspect
import os
from pathlib import Path

from keras_resnet import applications, build, complexity
from keras_resnet.networks.zoo import PAPERS

README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- networks -->\n", "<!-- /networks -->\n"


def rows():
    yield "| name | function | parameters | multiply-adds | input |"
    yield "| --- | --- | ---: | ---: | --- |"
    functions = {
        inspect.signature(getattr(applications, f)).parameters["name"].default: f for f in applications.__all__
    }
    for paper, networks in PAPERS.items():
        yield f"| **[{paper.authors}](https://arxiv.org/abs/{paper.arxiv})** | {paper.title} | | | |"
        for name in networks:
            costs = complexity(build(name))
            size = "x".join(map(str, networks[name].input_shape))
            yield f"| `{name}` | `{functions[name]}` | {costs.trainable_params:,} | {costs.macs:,} | {size} |"


def main():
    before, _, rest = README.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    partial = README.with_suffix(".partial")
    partial.write_text(before + BEGIN + "\n".join(rows()) + "\n" + END + after)
    os.replace(partial, README)


if __name__ == "__main__":
    main()
