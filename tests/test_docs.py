"""The pages show what the code and the trained runs say."""

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
