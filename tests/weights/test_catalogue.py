"""The catalogue of public checkpoints: what its rows say, which is a network's usual one, and how it is shown."""

import csv
import runpy
from pathlib import Path

import pytest
from click.testing import CliRunner

import keras_resnet
from keras_resnet import NETWORKS, pretrained
from keras_resnet.checks import ArgumentError
from keras_resnet.cli import main
from keras_resnet.networks.arguments import check_arguments
from keras_resnet.weights.catalogue import FILE, NONCOMMERCIAL, default
from keras_resnet.weights.sources import APPLICATIONS, blocks_of

ROOT = Path(__file__).parents[2]
LACKED = ("resnet26d", "resnext50d_32x4d", "resnext101_32x16d", "resnext101_32x32d")


def test_every_row_is_of_a_published_network_and_has_a_tag_of_its_own():
    names = [(row.network, row.tag) for row in pretrained()]
    assert {network for network, _ in names} <= set(NETWORKS)
    assert len(set(names)) == len(names) == 125
    assert {row.source.partition(":")[0] for row in pretrained()} >= {"hf", "keras.applications.ResNet50"}


@pytest.mark.parametrize("network", LACKED)
def test_networks_of_the_list_are_rows_of_the_zoo(network):
    assert pretrained(network)


def test_a_checkpoint_was_measured_at_a_size_that_its_network_takes():
    for row in pretrained():
        check_arguments(NETWORKS[row.network], (row.size, row.size, 3), row.tag, network=row.network)


@pytest.mark.parametrize("blocks", APPLICATIONS)
def test_the_networks_of_keras_applications_have_its_weights_as_the_usual_ones(blocks):
    row = default(APPLICATIONS[blocks].lower())
    assert row.source == f"keras.applications.{APPLICATIONS[blocks]}"
    assert blocks_of(NETWORKS[row.network].stages) == blocks


@pytest.mark.parametrize(
    ("network", "tag"),
    [
        ("resnet18", "tv_in1k"),  # torchvision's first
        ("resnext101_64x4d", "tv_in1k"),
        ("resnet50d", "ra4_e3600_r224_in1k"),  # the most accurate
        ("resnet18v2", "ra4_e3600_r224_in1k"),  # not that of another stem, which is more accurate
        ("resnext101_32x4d", "gluon_in1k"),  # the most accurate that may be used commercially
        ("resnext101_32x32d", "fb_wsl_ig1b_ft_in1k"),  # there is no other
    ],
)
def test_the_usual_weights_are_torchvisions_first_or_the_most_accurate(network, tag):
    assert default(network).tag == tag
    assert [row.tag for row in pretrained(network) if row.is_default] == [tag]


@pytest.mark.parametrize(
    ("network", "near"), [("resnet200", "resnet200d"), ("plain34", "resnet34"), ("densenet264", "densenet201")]
)
def test_a_network_without_public_weights_says_which_near_one_has(network, near):
    with pytest.raises(
        ArgumentError, match=f"{network} has no public weights; networks near it that have are .*{near}"
    ):
        keras_resnet.build(network, weights="imagenet")


def test_an_unknown_tag_is_refused_with_those_of_the_network():
    with pytest.raises(ArgumentError, match=r"a tag of resnet18's \('a1_in1k', 'a2_in1k', .*'tv_in1k'\)"):
        keras_resnet.ResNet18(weights="a4_in1k")


def test_a_tag_of_another_network_is_refused():
    with pytest.raises(ArgumentError, match="a tag of resnet26d's"):
        keras_resnet.ResNet26D(weights="a1_in1k")


def test_rows_print_as_a_table_that_marks_the_usual_ones_and_licences():
    lines = repr(pretrained("resnet18")).splitlines()
    assert len(lines) == 1 + len(pretrained("resnet18"))
    marked = [line.split()[1] for line in lines if "*" in line]
    assert marked == ["tv_in1k"]
    assert [line.split()[1] for line in lines if NONCOMMERCIAL in line] == [
        "fb_ssl_yfcc100m_ft_in1k",
        "fb_swsl_ig1b_ft_in1k",
    ]


def test_the_command_lists_accuracy_size_and_licence():
    shown = CliRunner().invoke(main, ["list", "--pretrained", "resnet50"]).output
    line = next(line for line in shown.splitlines() if " a3_in1k" in line)
    assert line.split() == ["resnet50", "a3_in1k", "75.99", "92.49", "160", "apache-2.0", "hf://timm/resnet50.a3_in1k"]
    assert "unknown" in next(line for line in shown.splitlines() if " bamboo" in line)


def test_the_catalogue_is_pinned_to_the_commits_that_the_hub_has(online, tmp_path):
    rows = list(csv.DictReader((ROOT / "keras_resnet" / "weights" / FILE).read_text().splitlines()))
    rows = [row for row in rows if row["network"] in ("resnet26d", "densenet121")]
    commits = {}
    for row in rows:
        if row["source"].startswith("hf://"):
            repository = row["source"].removeprefix("hf://")
            commits[row["source"]] = online.add(repository, {"model.safetensors": repository.encode()})
    path = tmp_path / FILE
    path.write_text("\n".join([",".join(rows[0]), *(",".join(row.values()) for row in rows)]) + "\n")
    assert runpy.run_path(str(ROOT / "docs" / "pin.py"))["pin"](path) == len(commits) == 3
    pinned = list(csv.DictReader(path.read_text().splitlines()))
    assert {row["source"]: row["revision"] for row in pinned if row["revision"]} == commits
    assert [{**row, "revision": ""} for row in pinned] == [{**row, "revision": ""} for row in rows]
