"""What becomes of the values of files, which are read without a process of their own: faster. And a hub of its own."""

import pytest

from helpers.fake_hub import fake_hub, set_constants, set_endpoint
from keras_resnet.weights import foreign


@pytest.fixture(autouse=True)
def _read_here(monkeypatch):
    monkeypatch.setattr(foreign, "is_shipped", lambda path: True)


@pytest.fixture
def online(tmp_path, monkeypatch):
    """A fake hub that the library asks, with an empty cache."""
    with fake_hub() as hub:
        set_endpoint(monkeypatch, hub.endpoint)
        set_constants(monkeypatch, HF_HUB_CACHE=str(tmp_path / "cache"), HF_HUB_OFFLINE=False)
        yield hub
