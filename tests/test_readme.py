"""The README's code runs, and what its comments say that it gives is what it gives."""

import re
from pathlib import Path

README = (Path(__file__).parent.parent / "README.md").read_text()


def test_python_examples_run_and_give_what_they_say():
    code = "\n".join(re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL))
    names, told = {}, 0
    for statement in re.split(r"\n(?=\S)", code):
        exec(statement, names)
        expression, _, value = statement.partition("  # (")
        if value:
            told += 1
            assert repr(eval(expression, names)) == repr(eval("(" + value, names))
    assert told == 2


def test_commands_are_where_the_checks_read_them():
    commands = re.findall(r"<!-- (train|test) command -->\n```sh\n(.*)\n```", README)
    assert [name for name, _ in commands] == ["train", "test"]
    assert commands[1][1].endswith("python -m pytest")
