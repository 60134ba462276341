"""python -m benchmarks NAME: measures, prints a table, writes NAME.json, and puts the table in docs/benchmarks.md."""

from itertools import chain
from pathlib import Path

import click

from benchmarks import gpu, grouped_conv, inference, memory, pipeline, startup, train
from benchmarks.harness import report, work

ROOMS = {"grouped_conv": grouped_conv, "train": train, "inference": inference, "pipeline": pipeline,
         "memory": memory, "startup": startup, "gpu": gpu}  # fmt: skip
BENCHMARKS = {name: benchmark for room in ROOMS.values() for name, benchmark in room.BENCHMARKS.items()}
MEANT = {name: tuple(room.BENCHMARKS) for name, room in ROOMS.items()} | {name: (name,) for name in BENCHMARKS}
PAGE, END = Path("docs/benchmarks.md"), "<!-- end -->"


@click.command()
@click.argument("names", nargs=-1, required=True, type=click.Choice(list(MEANT)))
@click.option(
    "--output", type=click.Path(file_okay=False, path_type=Path), default=Path("benchmarks"), show_default=True
)
@click.option("--worker", hidden=True)
def main(names, output, worker):
    """Measure every contender of each benchmark in turns; of a room, such as startup, all."""
    if worker:
        benchmark = BENCHMARKS[names[0]]
        work(next(contender for contender in benchmark.contenders if contender.name == worker), benchmark.passes)
        return
    for name in chain.from_iterable(MEANT[name] for name in names):
        click.echo(f"{name}: {BENCHMARKS[name].about}")
        table = report(name, BENCHMARKS[name], output)
        click.echo(table)
        show(name, table)


def show(name: str, table: str) -> None:
    """In the page, where it has a place for that table."""
    before, mark, behind = PAGE.read_text().partition(f"<!-- {name} -->\n") if PAGE.exists() else ("", "", "")
    if mark:
        PAGE.write_text(before + mark + table + "\n" + END + behind.partition(END)[2])


if __name__ == "__main__":
    main()
