"""HyperResNet: the rows that it draws, under `search` and under keras-tuner's own tuners."""

from dataclasses import replace

import keras
import keras_tuner
import pytest

import keras_resnet
from helpers.searches import RECIPE, search, tiny, widths
from keras_resnet import NETWORKS, ResNetConfig, complexity
from keras_resnet.experiment.resolved import recipe_for
from keras_resnet.tuning import hypermodel, outcome
from keras_resnet.tuning.budget import Infeasible
from keras_resnet.tuning.hypermodel import HyperResNet

pytestmark = [  # of keras-tuner 1.4.8
    pytest.mark.filterwarnings("ignore:currentThread:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:getName:DeprecationWarning"),
]


class TestRows:
    def test_what_a_recipe_sets_of_the_network_is_in_the_row(self):
        space = HyperResNet("optimizer", "digits", network="wide_resnet16_4", recipe="wrn_dropout")
        config, recipe = space.draw(keras_tuner.HyperParameters())
        assert (config.dropout, recipe.network) == (0.3, {})
        run = space.resolved(config, recipe).run
        assert (run.network, run.config) == ("wide_resnet16_4", {"dropout": 0.3})
        assert recipe_for(run, space.source) == recipe

    @pytest.mark.parametrize(
        ("row", "recipe", "field", "value"),
        [
            ("wide_resnet16_4", "wrn_dropout", "dropout", 0.3),
            ("resnet50", "bag_of_tricks", "zero_init", True),
            ("resnet18", "cifar100", "stem", "cifar"),
            ("densenet40_k12", "fractalnet", "dropout", 0.4),  # and has no drop_path
        ],
    )
    def test_what_an_own_spaces_recipe_sets_of_the_network_is_in_the_row(self, row, recipe, field, value):
        space = HyperResNet(lambda hp: (NETWORKS[row], recipe), "digits")
        config, drawn = space.draw(keras_tuner.HyperParameters())
        assert (config, drawn.network) == (replace(NETWORKS[row], **{field: value}), {})
        run = space.resolved(config, drawn).run
        assert (run.network, run.config) == (row, {field: value})

    def test_the_network_that_is_built_has_the_row(self):
        small = replace(NETWORKS["resnet18"], stages=((8,), (8,)), stem_filters=8)
        model = HyperResNet(lambda hp: (small, "cifar100"), "digits").build(keras_tuner.HyperParameters())
        assert (model.card.config["stem"], model.card.config["stages"]) == ("cifar", [[8], [8]])

    def test_what_a_space_draws_is_not_the_recipes_to_set(self):
        def space(hp):
            return replace(NETWORKS["wide_resnet16_4"], dropout=hp.Float("dropout", 0, 0.5, default=0.1)), "wrn_dropout"

        assert HyperResNet(space, "digits").draw(keras_tuner.HyperParameters())[0].dropout == 0.1

    @pytest.mark.parametrize(("field", "argument"), [("zero_init", "zero_init"), ("droput", "recipe.network")])
    def test_an_own_spaces_recipe_that_cannot_set_the_row_is_an_error(self, field, argument):
        recipe = replace(RECIPE, network={field: True})
        with pytest.raises(ValueError, match=f"`{argument}`"):
            HyperResNet(lambda hp: (NETWORKS["plain20"], recipe), "digits").check()


class NeverRead:
    """A test split that may be counted, and no more."""

    def __init__(self, split):
        self.split = split

    def __len__(self):
        return len(self.split)

    def __getattr__(self, name):
        raise AssertionError(f"the test's {name} was read")


@pytest.fixture
def own(few, tmp_path, monkeypatch):
    """keras-tuner's own tuners, which train next to nothing; the runs that they would have trained, and from where."""
    trained = []

    def train(self, model, run, folder, callbacks=(), verbose=0):
        trained.append((run, float(model.weights[0].numpy().sum())))
        model.weights[0].assign_add([[1.0]])
        for callback in callbacks:
            callback.set_model(model)
            callback.on_epoch_end(0, {"val_accuracy": 0.5})
        return {"val_accuracy": 0.5}

    def tuner(kind, **given):
        options = {"directory": tmp_path, "project_name": kind.__name__, "seed": 1, **given}
        return kind(HyperResNet(widths, few), objective="val_accuracy", **options)

    def network(self, run):
        return keras.Sequential([keras.Input([1]), keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")])

    monkeypatch.setattr(HyperResNet, "network", network)
    monkeypatch.setattr(HyperResNet, "costs", lambda *_: {"params": 1})
    monkeypatch.setattr(HyperResNet, "trained", train)
    monkeypatch.setattr("gc.collect", lambda: None)  # which keras-tuner does for every model
    return tuner, trained


class TestTrials:
    @pytest.mark.slow
    def test_are_scored_on_the_validation_split_and_never_read_the_test(self, few, tmp_path, monkeypatch):
        monkeypatch.setattr(outcome, "exported", lambda *arguments: None)
        hidden = replace(few, test=NeverRead(few.test))
        result = search(tiny, hidden, tmp_path / "s", trials=2, max_params=10_000, patience=1)
        assert sum(trial["status"] == "COMPLETED" for trial in result.trials) == 2
        assert result.best["score"] * 64 == pytest.approx(round(result.best["score"] * 64))
        assert result.best["latency_ms"] > 0
        assert (tmp_path / "s" / "pareto.png").read_bytes().startswith(b"\x89PNG")
        built = keras_resnet.resnet(ResNetConfig(**result.best["config"]), input_shape=(8, 8, 1))
        assert (result.best["params"], result.best["macs"]) == (complexity(built).params, complexity(built).macs)

    def test_hold_images_out_where_there_is_no_validation_split(self, few):
        space = HyperResNet(tiny, replace(few, validation=None))
        assert (len(space.source.train), len(space.source.validation)) == (115, 13)
        assert space.base.validation == 0.1

    @pytest.mark.parametrize(("patience", "epochs"), [(None, 15), (4, 4)])
    def test_stop_early_and_score_the_weights_that_are_delivered(self, few, monkeypatch, patience, epochs):
        def train(model, source, recipe, folder, *, callbacks, **_):
            assert [(type(stop).__name__, stop.monitor, stop.patience) for stop in callbacks] == [
                ("EarlyStopping", "val_loss", epochs)
            ]
            history = ((3, 0), (1, 0.5), (2, 0.9))
            return [dict(val_loss=loss, val_accuracy=score, seconds=1.0) for loss, score in history]

        monkeypatch.setattr(hypermodel, "train", train)
        space = HyperResNet(lambda hp: (tiny(hp)[0], RECIPE), few, patience=patience)
        scores = space.trained(None, space.resolved(*space.draw(keras_tuner.HyperParameters())), None)
        assert scores == {"val_accuracy": 0.5, "val_loss": 1, "epochs": 3, "seconds": 3.0}

    def test_over_the_budget_are_noted_and_not_trained(self, few):
        noted = []
        space = HyperResNet(tiny, few, max_params=100)
        with pytest.raises(Infeasible, match=r"^params 250 > max_params=100$"):
            space.scored(None, None, costs={"params": 250}, note=noted.append)
        assert noted == [{"params": 250}]


class TestTrialsOfKerasTunersOwnTuners:
    def test_have_the_epochs_that_these_ask_for(self, own):
        tuner, trained = own
        tuner(keras_tuner.RandomSearch, max_trials=1).search(epochs=2, verbose=0)
        tuner(keras_tuner.Hyperband, max_epochs=3).search(verbose=0)
        assert [trial.recipe.epochs for trial, _ in trained] == [2, 1, 1, 1, 3, 3, 3]
        assert {start for _, start in trained} == {0}

    def test_over_the_budget_are_failures_that_are_not_tried_again(self, own, monkeypatch):
        tuner, trained = own
        counted = iter([{"params": 1}, {"params": 900}, {"params": 1}])
        monkeypatch.setattr(HyperResNet, "costs", lambda *_: next(counted))
        tried = tuner(keras_tuner.RandomSearch, max_trials=3, max_retries_per_trial=5)
        tried.hypermodel.budget = {"params": 100}
        tried.search(verbose=0)
        assert [trial.status for trial in tried.oracle.trials.values()] == ["COMPLETED", "FAILED", "COMPLETED"]
        assert len(trained) == 2

    @pytest.mark.parametrize(
        ("given", "argument"),
        [
            ({"batch_size": 3}, "search"),
            ({"x": [1]}, "search"),
            ({"epochs": 0}, "epochs"),
            ({"initial_epoch": 1}, "initial_epoch"),
        ],
    )
    def test_refuse_what_a_search_cannot_pass_on(self, own, given, argument):
        tuner, trained = own
        with pytest.raises(ValueError, match=f"`{argument}`"):
            tuner(keras_tuner.RandomSearch, max_trials=5).search(**given, verbose=0)
        assert not trained

    @pytest.mark.slow
    def test_are_trained(self, few, tmp_path):
        options = {"objective": "val_accuracy", "max_trials": 3, "seed": 1, "max_consecutive_failed_trials": 4}
        tuner = keras_tuner.RandomSearch(HyperResNet(tiny, few, max_params=10_000), directory=str(tmp_path), **options)
        tuner.search()
        ended = [trial.status for trial in tuner.oracle.trials.values()]
        assert sorted(ended) == ["COMPLETED", "COMPLETED", "FAILED"]
