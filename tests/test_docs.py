"""The pages show what the code and the trained runs say."""

import json
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TABLES = runpy.run_path(str(ROOT / "docs" / "tables.py"))


@pytest.mark.parametrize(
    "name", sorted(TABLES["TABLES"].keys() - {"networks"})
)  # tests/networks/test_counts.py counts these
def test_tables_are_what_the_code_says(name):
    page = (ROOT / TABLES["TABLES"][name][0]).read_text()
    assert TABLES["written"](page, name) == page, f"run `python docs/tables.py {name}`"


class TestClaims:
    """Judged by runs that are made up."""

    CLAIMS = runpy.run_path(str(ROOT / "docs" / "claims.py"))

    def runs(self, folder, **errors):
        for name, (test, training) in errors.items():
            (folder / name).mkdir()
            card = {"metrics": {"accuracy": 1 - test / 100}}
            (folder / name / "card.json").write_text(json.dumps(card))
            (folder / name / "history.csv").write_text(f"epoch,accuracy\n0,0.1\n1,{1 - training / 100}\n")
        return [self.CLAIMS["Trained"](name, folder) for name in errors]

    @pytest.mark.parametrize(
        ("deep", "verdict"),
        [((12, 9), "seen"), ((10.1, 9), "seen weaker"), ((9, 9), "not seen"), ((12, 4), "not seen")],
    )
    def test_deeper_is_worse_where_both_errors_are(self, deep, verdict, tmp_path):
        found = self.CLAIMS["deeper_is_worse"](self.runs(tmp_path, plain20=(10, 5), plain56=deep))
        assert found == (
            f"Test error: plain20 10.00 %, plain56 {deep[0]:.2f} %. "
            f"Training error: plain20 5.00 %, plain56 {deep[1]:.2f} %.",
            verdict,
        )

    def test_seeds_are_compared_by_their_ranges(self, tmp_path):
        runs = self.runs(tmp_path, a=(8.0, 1), b=(8.4, 1), c=(9.0, 1), d=(9.4, 1))
        text, verdict = self.CLAIMS["first_half_is_better"](runs)
        assert (text, verdict) == (
            "Mean test error of 2 seeds, and range: a 8.20 % (8.00 to 8.40); c 9.20 % (9.00 to 9.40).",
            "seen",
        )
        assert self.CLAIMS["first_half_is_better"](runs[::-1])[1] == "not seen"

    def test_every_run_of_a_claim_has_its_command(self):
        needed = {name for claim in self.CLAIMS["CLAIMS"] for name in claim.needs}
        assert needed <= self.CLAIMS["RUNS"].keys()
