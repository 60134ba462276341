"""Every private name of keras-tuner that the package uses. None has a default: a rename fails in the tests."""

from typing import Any

from keras_tuner import oracles


class FillableHyperband(oracles.HyperbandOracle):
    """Hyperband in brackets that so many trials can fill, in which a trial without a score leaves its place free.

    keras-tuner has no public name for a bracket.
    """

    wanted: int  # trials

    def _get_num_brackets(self) -> int:
        brackets = range(super()._get_num_brackets())
        sizes = [sum(self._get_size(bracket, rung) for rung in range(bracket + 1)) for bracket in brackets]
        return max(1, sum(size <= self.wanted for size in sizes))

    def leave_bracket(self, trial_id: str) -> None:
        """Otherwise a bracket waits for the score of that trial forever."""
        for bracket in self._brackets:
            bracket["rounds"][0] = [place for place in bracket["rounds"][0] if place["id"] != trial_id]


def next_combination(oracle: oracles.GridSearchOracle, values: dict[str, Any]) -> dict[str, Any] | None:
    """The combination behind these values in the grid; None behind the last.

    The public `populate_space` depends on lists that are not in the oracle's state.
    """
    return oracle._get_next_combination(values)
