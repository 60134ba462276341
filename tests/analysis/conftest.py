"""Networks that several studies look at."""

import pytest

from helpers.small_networks import network


@pytest.fixture(scope="module")
def residual():
    return network()


@pytest.fixture(scope="module")
def plain():
    return network(shortcut="none")
