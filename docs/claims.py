"""What the papers claim of residual networks, and what the runs of `saved_models/` show of it, row by row."""

import csv
import json
from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

import keras_resnet
from keras_resnet.graph.initialization import without_weights

ROOT = Path(__file__).parent.parent
RUNS = {row["folder"]: row for row in csv.DictReader((ROOT / "docs" / "runs.csv").read_text().splitlines())}
SEEN, WEAKER, NOT_SEEN = "seen", "seen weaker", "not seen"
NOISE = 0.3  # percent of the test images by which two seeds of one network may differ: see docs/results.md


class Trained:
    """A run, in percent."""

    def __init__(self, folder: str, root: Path = ROOT / "saved_models"):
        self.name, self.path = folder, root / folder

    @property
    def ended(self) -> bool:
        return (self.path / "card.json").exists()

    @cached_property
    def test(self) -> float:
        return 100 * (1 - json.loads((self.path / "card.json").read_text())["metrics"]["accuracy"])

    @cached_property
    def training(self) -> float:
        """Of augmented images, as the last epoch met them."""
        with open(self.path / "history.csv", newline="") as file:
            return 100 * (1 - float(list(csv.DictReader(file))[-1]["accuracy"]))


Judge = Callable[[list[Trained]], tuple[str, str]]  # of the runs: what is found, and the verdict


class Claim(NamedTuple):
    paper: str
    claim: str
    judge: Judge
    needs: tuple[str, ...] = ()  # keys of RUNS


def verdict(differences: list[float]) -> str:
    """Of how much each comparison speaks for the claim."""
    return SEEN if min(differences) > NOISE else WEAKER if min(differences) > -NOISE else NOT_SEEN


def listed(runs: list[Trained], attribute: str = "test") -> str:
    return ", ".join(f"{run.name.removesuffix('-cifar10')} {getattr(run, attribute):.2f} %" for run in runs)


def deeper_is_worse(runs: list[Trained]) -> tuple[str, str]:
    differences = [
        getattr(deeper, error) - getattr(shallow, error)
        for shallow, deeper in pairwise(runs)
        for error in ("test", "training")
    ]
    return f"Test error: {listed(runs)}. Training error: {listed(runs, 'training')}.", verdict(differences)


def deeper_is_better(runs: list[Trained]) -> tuple[str, str]:
    differences = [shallow.test - deeper.test for shallow, deeper in pairwise(runs)]
    return f"Test error: {listed(runs)}. Training error: {listed(runs, 'training')}.", verdict(differences)


def first_is_best(runs: list[Trained]) -> tuple[str, str]:
    best, *others = runs
    return f"Test error: {listed(runs)}.", verdict([other.test - best.test for other in others])


def last_is_best(runs: list[Trained]) -> tuple[str, str]:
    return first_is_best(runs[::-1])


def first_half_is_better(runs: list[Trained]) -> tuple[str, str]:
    """Seeds of two networks."""
    halves = runs[: len(runs) // 2], runs[len(runs) // 2 :]
    texts = [
        f"{half[0].name.removesuffix('-cifar10')} {np.mean([run.test for run in half]):.2f} % "
        f"({min(run.test for run in half):.2f} to {max(run.test for run in half):.2f})"
        for half in halves
    ]
    gap = min(run.test for run in halves[1]) - max(run.test for run in halves[0])
    return f"Mean test error of {len(halves[0])} seeds, and range: {'; '.join(texts)}.", verdict([gap])


def first_is_no_better(runs: list[Trained]) -> tuple[str, str]:
    ours, other = runs
    return f"Test error: {listed(runs)}.", SEEN if ours.test > other.test - NOISE else NOT_SEEN


def fails(runs: list[Trained]) -> tuple[str, str]:
    """That networks learn next to nothing."""
    return f"Test error: {listed(runs)}.", SEEN if min(run.test for run in runs) > 50 else NOT_SEEN


def cheaper_than_vgg(_: list[Trained]) -> tuple[str, str]:
    with without_weights():
        vgg = keras_resnet.complexity(keras.applications.VGG19(weights=None)).macs
        costs = {name: keras_resnet.complexity(keras_resnet.build(name)).macs for name in ("resnet34", "resnet152")}
    texts = [f"{name} {macs / 1e9:.1f}" for name, macs in {"VGG-19": vgg, **costs}.items()]
    return f"Billions of multiply-adds: {', '.join(texts)}.", SEEN if max(costs.values()) < vgg else NOT_SEEN


def steps_save_time(_: list[Trained]) -> tuple[str, str]:
    path = ROOT / "benchmarks" / "train_stochastic_depth.json"
    if not path.exists():
        return "`python -m benchmarks train_stochastic_depth`", "not run"
    batch, sample = map(np.median, json.loads(path.read_text())["seconds"].values())
    share = 1 - batch / sample
    return f"A step of ResNet-56 takes {share:.0%} less.", SEEN if share > 0.2 else WEAKER if share > 0.05 else NOT_SEEN


def of(*names: str) -> tuple[str, ...]:
    return tuple(f"{name}-cifar10" for name in names)


TABLE_1 = (
    "constant_scaling", "shortcut_scaling", "exclusive_gating_6", "exclusive_gating_0",
    "shortcut_only_gating_6", "shortcut_only_gating_0", "conv", "dropout",
)  # fmt: skip
CLAIMS = [
    Claim(
        "He et al. 2015, figure 6, left",
        "Deeper plain networks train worse and test worse.",
        deeper_is_worse,
        of("plain20", "plain32", "plain44", "plain56"),
    ),
    Claim(
        "He et al. 2015, figure 6, middle",
        "Deeper residual networks test better.",
        deeper_is_better,
        of("resnet20", "resnet32", "resnet44", "resnet56", "resnet110"),
    ),
    Claim(
        "He et al. 2015, figure 6",
        "At 56 layers the shortcuts decide.",
        first_is_best,
        of("resnet56", "plain56"),
    ),
    Claim(
        "He et al. 2015, figure 6",
        "At 20 layers the residual network is a little better than its plain twin.",
        first_half_is_better,
        of("resnet20", "seed1/resnet20", "seed2/resnet20", "plain20", "seed1/plain20", "seed2/plain20"),
    ),
    Claim(
        "He et al. 2015, table 3 (there on ImageNet)",
        "Projections are slightly better than zero-padding: A, then B, then C.",
        deeper_is_better,
        of("resnet20", "shortcut_b/resnet20", "shortcut_c/resnet20"),
    ),
    Claim(
        "He et al. 2015, section 3.2",
        "A branch of a single layer has no advantage over a plain network.",
        first_is_no_better,
        of("single/resnet20", "plain20"),
    ),
    Claim(
        "He et al. 2015, table 1 and section 3.3",
        "ResNet-152 computes less than VGG-19.",
        cheaper_than_vgg,
    ),
    Claim(
        "He et al. 2016, section 2",
        "Shortcuts that are not the identity, 2x and x squared, destroy the training of deep networks.",
        fails,
        of("double/resnet56", "square/resnet56"),
    ),
    Claim(
        "He et al. 2016, table 1",
        "No gate, scaling, convolution or dropout on the shortcut is as good as the identity.",
        first_is_best,
        of("original_20/resnet20", *(f"{name}/resnet20" for name in TABLE_1)),
    ),
    Claim(
        "He et al. 2016, table 2",
        "Full pre-activation is the best order.",
        last_is_best,
        of("resnet20", *(f"{order}/resnet20" for order in ("norm_after_sum", "relu_before_sum", "relu_only", "pre"))),
    ),
    Claim(
        "He et al. 2016, table 3",
        "Pre-activation helps the deeper network.",
        last_is_best,
        of("resnet56", "pre/resnet56"),
    ),
    Claim(
        "Zagoruyko and Komodakis 2016, table 4",
        "Wider is better than deeper at about equal parameters.",
        first_is_best,
        of("wide_resnet16_2", "wide_resnet40_1"),
    ),
    Claim(
        "Zagoruyko and Komodakis 2016, section 3.4",
        "Dropout inside the branches of a wide network helps.",
        first_is_best,
        of("dropout/wide_resnet16_2", "wide_resnet16_2"),
    ),
    Claim(
        "Huang et al. 2016, section 4",
        "Stochastic depth tests better than the same network without it.",
        first_is_best,
        of("stochastic_depth/resnet56", "resnet56"),
    ),
    Claim(
        "Huang et al. 2016, section 3",
        "Survival that falls to 0.5 saves a quarter of a training step.",
        steps_save_time,
    ),
    Claim(
        "Hu et al. 2018, table 4",
        "Squeeze-and-excitation helps.",
        first_is_best,
        of("seresnet20", "resnet20"),
    ),
]


def claims() -> Iterator[str]:
    yield "| claim | of | found | verdict |"
    yield "| --- | --- | --- | --- |"
    for claim in CLAIMS:
        found, seen = judged(claim)
        yield f"| {claim.claim} | {claim.paper} | {found} | {seen} |"


def judged(claim: Claim) -> tuple[str, str]:
    runs = [Trained(name) for name in claim.needs]
    missing = [run.name.removesuffix("-cifar10") for run in runs if not run.ended]
    return (f"Not there: {', '.join(missing)}.", "not run") if missing else claim.judge(runs)
