"""Records of trials, and the front of those that nothing else beats."""

import pytest

from keras_resnet.tuning.records import front


def record(trial, score, params, macs, latency):
    return {"trial": trial, "score": score, "params": params, "macs": macs, "latency_ms": latency}


class TestTheFront:
    def test_has_what_nothing_else_beats(self):
        best, small, dominated = record(0, 0.9, 9, 9, 9), record(1, 0.5, 1, 1, 1), record(2, 0.8, 9, 9, 10)
        assert front([best, small, dominated]) == [best, small]

    @pytest.mark.parametrize("cost", range(3))
    def test_keeps_what_is_cheaper_in_one_cost_alone(self, cost):
        costs = [5, 5, 5]
        costs[cost] = 4
        trials = [record(0, 0.9, 5, 5, 5), record(1, 0.8, *costs)]
        assert front(trials) == trials

    def test_keeps_equals(self):
        trials = [record(0, 0.9, 5, 5, 5), record(1, 0.9, 5, 5, 5)]
        assert front(trials) == trials
