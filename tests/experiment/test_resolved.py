"""What the names of a run stand for, each made once."""

from dataclasses import replace

import numpy as np
import pytest

from keras_resnet import NETWORKS, RECIPES, load_data
from keras_resnet.experiment import Resolved, Run
from keras_resnet.experiment.folder import to_train
from keras_resnet.networks.config import ResNetConfig

SMALL = {"stages": [[8], [8]], "stem_filters": 8}


def source(height=40, width=48, images=256):
    return load_data(((np.zeros((images, height, width, 3), "uint8"), np.arange(images) % 2),) * 2)


def resolved(images=None, **given):
    return Resolved.of(Run(**{"network": "resnet20", "data": "arrays", **given}), images or source())


@pytest.mark.parametrize(
    ("given", "shape"),
    [
        ({}, (40, 48, 3)),
        ({"size": 64}, (64, 64, 3)),
        ({"changes": {"view": "random_resized_crop"}}, (32, 32, 3)),
        ({"weights": "cifar10"}, (32, 32, 3)),
        ({"network": "resnet18", "weights": "some.pth"}, (224, 224, 3)),
    ],
)
def test_images_have_the_size_that_is_asked_for_or_their_own_or_the_networks(given, shape):
    assert resolved(**given).input_shape == shape


@pytest.mark.parametrize(
    ("given", "recipe"),
    [
        ({"data": "digits"}, "digits"),
        ({}, "fast"),
        ({"weights": "some.pth"}, "finetune"),
        ({"recipe": "wrn", "weights": "some.pth"}, "wrn"),
    ],
)
def test_the_recipe_is_the_named_one_or_goes_by_the_data(given, recipe):
    assert resolved(**given).recipe == RECIPES[recipe]


def test_larger_images_have_the_bag_of_tricks():
    assert resolved(source(height=65)).recipe == RECIPES["bag_of_tricks"]


@pytest.mark.parametrize(("replicas", "batch"), [(1, 20), (8, 16)])
def test_the_batch_of_a_ready_recipe_is_reduced_to_the_images_and_said(replicas, batch):
    for given in ({}, {"recipe": "wrn"}):
        with pytest.warns(UserWarning, match=rf"batch of 128 images is reduced to {batch}: there are 20 to train on"):
            found = Resolved.of(Run(network="resnet20", data="arrays", **given), source(images=20), replicas).recipe
        assert found == replace(RECIPES[given.get("recipe", "fast")], batch_size=batch)


def test_a_batch_that_was_set_is_not_reduced():
    assert resolved(source(images=20), changes={"batch_size": 21}).recipe.batch_size == 21


def test_an_image_for_every_replica_is_needed():
    with pytest.raises(ValueError, match=r"`data`. Expected at least 24 training images, one for each replica"):
        Resolved.of(Run(network="resnet20", data="arrays"), source(images=20), 24)


def test_the_row_has_what_the_recipe_sets_and_the_run_changes():
    run = resolved(recipe="bag_of_tricks", config={"shortcut": "B"})
    assert run.config == replace(NETWORKS["resnet20"], zero_init=True, shortcut="B")
    assert resolved(recipe="bag_of_tricks", config={"zero_init": False}).config == NETWORKS["resnet20"]


def test_what_other_families_have_is_passed_over_and_what_none_has_is_refused():
    assert resolved(network="densenet40_k12", recipe="fractalnet").config == replace(
        NETWORKS["densenet40_k12"], dropout=0.4
    )
    with pytest.raises(ValueError, match=r"`recipe\.network`"):
        resolved(changes={"network": {"nonsense": 3}})


def test_a_run_makes_its_row_once(monkeypatch):
    made, check = [], ResNetConfig.__post_init__
    monkeypatch.setattr(ResNetConfig, "__post_init__", lambda row: made.append(row) or check(row))
    run = Run(network="resnet20", data="arrays", config=SMALL)
    run.check()
    model = Resolved.of(run, source()).build(None)
    assert len(made) == 1
    assert model.name == "resnet20"
    assert model.card.config["stem_filters"] == 8


@pytest.mark.parametrize(("begun", "epochs"), [([], [2, 1]), (["frozen"], [2, 1]), (["frozen", ""], [1])])
def test_a_run_goes_on_in_the_last_part_that_was_begun(begun, epochs, tmp_path):
    for part in begun:
        (tmp_path / part).mkdir(exist_ok=True)
        (tmp_path / part / "checkpoint.npz").touch()
    phases = resolved(freeze="stem", changes={"epochs": 3}).phases
    assert [phase.recipe.epochs for phase in to_train(phases, tmp_path)] == epochs


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "recipe fast (for images of up to 64 pixels); 48 epochs, batches of 128, learning rate 0.3 (linear)"),
        ({"recipe": "wrn", "changes": {"epochs": 2}}, "recipe wrn (as asked for), epochs=2; 2 epochs, "),
        ({"weights": "some.pth"}, "recipe finetune (for a start from weights)"),
        ({"freeze": "stem", "changes": {"epochs": 3}}, "3 epochs (the first 2 with all up to stem frozen)"),
        ({"size": 64}, "images of 64x64x3, "),
        ({}, "256 images train, 256 test and are watched, the last epoch is kept."),
        ({"validation": 5}, "251 images train, 5 validate and choose the epoch, 256 test."),
    ],
)
def test_what_was_decided_is_said_with_its_reason(given, words):
    assert words in resolved(**given).decided
