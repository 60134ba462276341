"""How large a network may be: far above what anybody trains, so that beyond it a number is a mistake."""

from collections.abc import Callable
from typing import Any

from keras_resnet.checks import Rule, between, is_list_of

MOST_CHANNELS = 2**16
MOST_PIXELS = 2**16  # on a side
MOST_STAGES, MOST_BLOCKS = 10, 10_000

CHANNELS = between(1, MOST_CHANNELS)
CLASSES = between(1, 10_000_000)


def stages_of(holds: Callable[[Any], bool], blocks: Callable[[Any], int], expected: str) -> Rule:
    """Of stages that hold each, with so many blocks each."""
    most = f"at most {MOST_STAGES} stages, {MOST_BLOCKS:,} blocks and {MOST_CHANNELS:,} channels"

    def few(value: Any) -> bool:
        return is_list_of(holds)(value) and len(value) <= MOST_STAGES and sum(map(blocks, value)) <= MOST_BLOCKS

    return Rule(few, f"{expected}; {most}")
