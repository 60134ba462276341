"""python -m benchmarks NAME [--output FOLDER]: measures, prints a table, writes NAME.json."""

from pathlib import Path

import click

from benchmarks import grouped_conv, resnext, startup
from benchmarks.harness import report, work

BENCHMARKS = {**grouped_conv.BENCHMARKS, **resnext.BENCHMARKS, **startup.BENCHMARKS}
GROUPS = {"startup": list(startup.BENCHMARKS)}


@click.command()
@click.argument("name", type=click.Choice([*BENCHMARKS, *GROUPS]))
@click.option(
    "--output", type=click.Path(file_okay=False, path_type=Path), default=Path("benchmarks"), show_default=True
)
@click.option("--worker", hidden=True)
def main(name, output, worker):
    """Time every contender of benchmark NAME in turns, or those of a group of benchmarks."""
    if worker:
        work(next(contender for contender in BENCHMARKS[name].contenders if contender.name == worker))
        return
    for each in GROUPS.get(name, [name]):
        click.echo(f"{each}: {BENCHMARKS[each].about}")
        click.echo(report(each, BENCHMARKS[each], output))


if __name__ == "__main__":
    main()
