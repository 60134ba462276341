"""torch and the libraries on it, or a skip where they are not installed: `pip install -e ".[live]"`."""

from types import ModuleType

import pytest

MISSING = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
DECLARATIONS = []  # torch forgets a declaration with its object


def live(name: str) -> ModuleType:
    """`torch`, or a module of torchvision or timm, which imports torchvision."""
    if name != "torch":
        try_torchvision()
    return pytest.importorskip(name)


def try_torchvision() -> None:
    """Also where it is built for a torch with CUDA, and this one has none: its models need none of its operators."""
    torch = pytest.importorskip("torch")
    try:
        pytest.importorskip("torchvision")
    except RuntimeError:
        DECLARATIONS.append(torch.library.Library("torchvision", "DEF"))
        for operator in ("nms", "qnms"):
            DECLARATIONS[-1].define(operator + MISSING)
