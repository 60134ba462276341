"""The networks against the literature: every figure is counted on the built model, never by a second arithmetic."""

import csv
import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from keras.src.applications.densenet import DenseNet

from helpers.undrawn import undrawn
from keras_resnet import NETWORKS, DenseNetConfig, ResNetConfig, build, complexity
from keras_resnet.networks.config import plan

HERE = Path(__file__).parent
PUBLISHED = list(csv.DictReader((HERE / "published_models.csv").read_text().splitlines()))
README = (HERE.parents[1] / "README.md").read_text()


def blocks(row):
    if isinstance(row, ResNetConfig):
        return len(list(plan(row))) * row.branches
    return sum(row.stages) if isinstance(row, DenseNetConfig) else len(row.stages)


def of_network(name, *values):
    """A parameter of the tests; slow where the network is deep."""
    marks = [pytest.mark.slow] * (blocks(NETWORKS[name]) > 40)
    return pytest.param(name, *values, marks=marks, id="-".join(map(str, (name, *values))))


def counted(name, size=None, **changes):
    return costs(name, size or NETWORKS[name].input_shape[0], **changes)


@cache
def costs(name, size, **changes):
    counts = complexity(undrawn(build, name, input_shape=(size, size, 3), **changes))
    return counts.trainable_params, counts.params, counts.macs


@pytest.mark.parametrize(("name", "row"), [of_network(row["name"], index) for index, row in enumerate(PUBLISHED)])
def test_counts_equal_the_published(name, row):
    published = PUBLISHED[row]  # the columns `note` and `checked_against` name the source
    changes = dict(option.split("=") for option in published["options"].split())
    size = int(published["input"].split("x")[0])
    assert NETWORKS[name].classes == int(published["classes"])
    assert counted(name, size, **changes) == (
        int(published["trainable_params"]),
        int(published["total_params"]),
        int(published["macs"]),
    )


# The names that the table lacks, and where their figures come from instead.

BY_BLOCKS = {  # the row is the published one with more blocks, and blocks of one shape cost alike
    "plain44": "plain32",
    "resnet34v2": "resnet18v2",
    "resnet152v2": "resnet101v2",
    "resnet34d": "resnet18d",
    "resnet101d": "resnet50d",
    "wide_resnet16_2": "wide_resnet28_2",
    "wide_resnet22_8": "wide_resnet16_8",
    "wide_resnet40_2": "wide_resnet28_2",
    "wide_resnet101_2": "wide_resnet50_2",
    "resnext152_32x4d": "resnext101_32x4d",
    "seresnet152": "seresnet101",
    "seresnext101_32x4d": "seresnext50_32x4d",
    "resnetrs101": "resnetrs50",
    "resnetrs270": "resnetrs200",
    "multiresnet398_k5": "multiresnet200_k5",
}

BY_GROUPS = {  # stages alike, cost = a + b * inner + c * inner**2 / groups, solved from three others
    "resnext101_64x4d": [("resnet101", {}), ("resnext101_32x4d", {}), ("resnext101_32x8d", {})],
    "resnext29_16x64d": [("resnext29_32x4d", {}), ("resnext29_8x64d", {}), ("resnext29_8x64d", {"groups": 4})],
}

BY_GROWTH = {  # cost = a + b * growth + c * growth**2, solved from three other growths
    "densenet100_k12": (4, 8, 16),
    "densenet100_k24": (8, 12, 16),
    "densenetbc100_k12": (4, 8, 16),
    "densenetbc190_k40": (4, 8, 12),
}

PYRAMIDS = ("pyramidnet164_a48", "pyramidnet164_a270", "pyramidnet200_a240", "pyramidnet272_a200")
BY_WIDTHS = ("pyramidnet164_a84", "pyramidnet236_a220")  # solved from those four

MILLIONS = {  # parameters that the papers or their repositories give
    "densenet100_k12": 7.0,
    "densenet100_k24": 27.2,
    "densenetbc190_k40": 25.6,
    "multiresnet398_k5": 20.4,
    "resnext29_16x64d": 68.1,
}

KERAS_BLOCKS = {"densenet169": [6, 12, 32, 32], "densenet264": [6, 12, 64, 48]}  # built by Keras' own DenseNet


def one_more_block(stages, stage):
    return tuple(widths + widths[-1:] * (index == stage) for index, widths in enumerate(stages))


@pytest.mark.parametrize(("name", "anchor"), [of_network(name, anchor) for name, anchor in BY_BLOCKS.items()])
def test_more_blocks_cost_as_many_times_one(name, anchor):
    target, published = NETWORKS[name], NETWORKS[anchor]
    size = target.input_shape[0]
    assert replace(target, stages=published.stages, image_size=published.image_size) == published
    expected = np.array(counted(anchor, size))
    for stage, (more, fewer) in enumerate(zip(target.stages, published.stages, strict=True)):
        assert set(more) == set(fewer)
        if len(more) != len(fewer):
            grown = counted(anchor, size, stages=one_more_block(published.stages, stage))
            expected += (len(more) - len(fewer)) * (np.array(grown) - counted(anchor, size))
    assert counted(name) == tuple(expected)


def solved(terms, costs):
    """The linear function of the terms that gives those costs, to the integer."""
    terms, costs = np.array(terms, float), np.array(costs, float)
    scale = np.abs(terms).max(0)
    factors = np.linalg.lstsq(terms / scale, costs, rcond=None)[0]
    return lambda wanted: tuple(np.rint(np.array(wanted) / scale @ factors).astype(int))


@pytest.mark.parametrize("name", [of_network(name) for name in BY_GROUPS])
def test_cardinality_costs_as_the_width_over_groups(name):
    def terms(config):
        return 1, config.inner, config.inner**2 / config.groups

    known = [
        (terms(replace(NETWORKS[other], **changes)), counted(other, **changes)) for other, changes in BY_GROUPS[name]
    ]
    factors, costs = map(np.array, zip(*known, strict=True))
    assert counted(name) == tuple(np.rint(terms(NETWORKS[name]) @ np.linalg.solve(factors, costs)).astype(int))


@pytest.mark.parametrize("name", [of_network(name) for name in BY_GROWTH])
def test_cost_is_quadratic_in_the_growth(name):
    row = NETWORKS[name]

    def grown(growth):
        return {"growth": growth, "stem_filters": 2 * growth if row.bottleneck else row.stem_filters}

    costs = np.array([counted(name, **grown(growth)) for growth in BY_GROWTH[name]])
    assert counted(name) == solved([(1, growth, growth**2) for growth in BY_GROWTH[name]], costs)(
        (1, row.growth, row.growth**2)
    )


def trunk_costs(name):
    """Without the head and its norm, whose width is the last block's alone."""
    rows = complexity(undrawn(build, name)).rows
    rows = [row for row in rows if not row.name.startswith(("head_", "predictions"))]
    return [sum(row.trainable_params for row in rows), sum(row.params for row in rows)], [sum(row.macs for row in rows)]


def pyramid_terms(name):
    """What parameters, and what multiply-adds, of pyramidal bottlenecks are linear in: widths before, and inside."""
    blocks = list(plan(NETWORKS[name]))
    inside = [block.filters // 4 for block in blocks]
    before = [4, *inside[:-1]]
    pixels = [1024 // 4 ** (int(block.name[5]) - 1) for block in blocks]
    entered = [size * block.stride**2 for size, block in zip(pixels, blocks, strict=True)]
    params = [1, np.dot(before, inside), np.dot(inside, inside), 4 * sum(before) + 6 * sum(inside)]
    macs = [1, np.dot(entered, np.multiply(before, inside)), np.dot(pixels, np.square(inside))]
    return params, macs


@pytest.mark.slow
@pytest.mark.parametrize("name", BY_WIDTHS)
def test_pyramids_cost_as_their_widths(name):
    terms, costs = zip(*((pyramid_terms(other), trunk_costs(other)) for other in PYRAMIDS), strict=True)
    for kind, found in enumerate(trunk_costs(name)):
        known = [of[kind] for of in terms], np.array([of[kind] for of in costs])
        assert solved(*known)(pyramid_terms(name)[kind]) == tuple(found)


@pytest.mark.parametrize("name", [of_network(name) for name in MILLIONS])
def test_parameters_round_to_the_published_millions(name):
    assert counted(name)[0] / 1e6 == pytest.approx(MILLIONS[name], abs=0.1)


@pytest.mark.parametrize("name", [of_network(name) for name in KERAS_BLOCKS])
def test_densenet_costs_what_keras_own_builder_costs(name):
    theirs = complexity(undrawn(DenseNet, KERAS_BLOCKS[name], weights=None))
    assert counted(name) == (theirs.trainable_params, theirs.params, theirs.macs)


def test_every_network_is_checked_against_a_source():
    checked = {row["name"] for row in PUBLISHED}.union(BY_BLOCKS, BY_GROUPS, BY_GROWTH, BY_WIDTHS, KERAS_BLOCKS)
    assert checked == set(NETWORKS)


def test_no_family_counts_stray_projections():
    """The same arithmetic seen from the shortcut: A adds nothing to a plain network of any family."""
    assert counted("resnet18", shortcut="A") == counted("plain18")
    assert counted("resnet20") == counted("plain20")


@pytest.mark.parametrize("name", [of_network(name) for name in NETWORKS])
def test_readme_tells_what_is_counted(name):
    row = re.search(rf"^\| `{name}` \|(.*)\|$", README, re.MULTILINE)
    assert row, f"no row for {name}: run `python docs/tables.py networks`"
    cells = [cell.strip() for cell in row[1].split("|")]
    trainable, _, macs = counted(name)
    assert [f"{trainable:,}", f"{macs:,}"] == cells[1:3]
