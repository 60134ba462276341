"""python -m benchmarks NAME [--output FOLDER]: measures, prints a table, writes NAME.json."""

from pathlib import Path

import click

from benchmarks import grouped_conv, inference, memory, pipeline, startup, train
from benchmarks.harness import report, work

ROOMS = (grouped_conv, train, inference, pipeline, memory, startup)
BENCHMARKS = {name: benchmark for room in ROOMS for name, benchmark in room.BENCHMARKS.items()}
GROUPS = {"startup": list(startup.BENCHMARKS)}


@click.command()
@click.argument("name", type=click.Choice([*BENCHMARKS, *GROUPS]))
@click.option(
    "--output", type=click.Path(file_okay=False, path_type=Path), default=Path("benchmarks"), show_default=True
)
@click.option("--worker", hidden=True)
def main(name, output, worker):
    """Measure every contender of benchmark NAME in turns, or those of a group of benchmarks."""
    if worker:
        work(next(contender for contender in BENCHMARKS[name].contenders if contender.name == worker))
        return
    for each in GROUPS.get(name, [name]):
        click.echo(f"{each}: {BENCHMARKS[each].about}")
        click.echo(report(each, BENCHMARKS[each], output))


if __name__ == "__main__":
    main()
