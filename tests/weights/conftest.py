"""What becomes of the values of files, which are read without a process of their own: faster. And a hub of its own."""

from importlib import import_module

import pytest

from helpers.fake_hub import fake_hub
from keras_resnet.weights import foreign


@pytest.fixture(autouse=True)
def _read_here(monkeypatch):
    monkeypatch.setattr(foreign, "is_shipped", lambda path: True)


@pytest.fixture
def online(tmp_path, monkeypatch):
    """A fake hub that the library asks, with an empty cache."""
    constants = import_module("huggingface_hub.constants")
    with fake_hub() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
        template = hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        yield hub
