"""Searches that build and train nothing."""

from dataclasses import replace

import pytest

from helpers.searches import width
from keras_resnet.data import digits
from keras_resnet.tuning import hypermodel, outcome, records
from keras_resnet.tuning.budget import excess


@pytest.fixture
def quick(monkeypatch):
    """Searches that build and train nothing; what they would have trained."""
    trained = []

    def costs(self, resolved):
        counted = {"params": 10 * width(resolved), "macs": 100 * width(resolved)}
        return counted if excess(counted, self.budget) else {**counted, "latency_ms": width(resolved) / 10}

    def train(self, model, resolved, folder, callbacks=()):
        trained.append(resolved)
        return {"val_accuracy": 1 / width(resolved), "val_loss": 1.0, "epochs": 1, "seconds": 0.0}

    source = digits()
    monkeypatch.setattr(hypermodel, "load_data", lambda data, **_: source)
    monkeypatch.setattr(hypermodel.HyperResNet, "check", lambda self: None)
    monkeypatch.setattr(hypermodel.HyperResNet, "network", lambda self, resolved: resolved)
    monkeypatch.setattr(hypermodel.HyperResNet, "costs", costs)
    monkeypatch.setattr(hypermodel.HyperResNet, "trained", train)
    monkeypatch.setattr(outcome, "exported", lambda *arguments: None)
    monkeypatch.setattr(records, "plot_front", lambda *arguments: None)
    return trained


@pytest.fixture
def few():
    source = digits()
    return replace(source, train=source.train[:128], validation=source.validation[:64], test=source.test[:16])
