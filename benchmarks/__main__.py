"""python -m benchmarks NAME [--output FOLDER]: measures, prints a table, writes NAME.json."""

from pathlib import Path

import click

from benchmarks import grouped_conv, memory, resnext
from benchmarks.harness import report, work

BENCHMARKS = {**grouped_conv.BENCHMARKS, **resnext.BENCHMARKS, **memory.BENCHMARKS}


@click.command()
@click.argument("name", type=click.Choice(list(BENCHMARKS)))
@click.option(
    "--output", type=click.Path(file_okay=False, path_type=Path), default=Path("benchmarks"), show_default=True
)
@click.option("--worker", hidden=True)
def main(name, output, worker):
    """Time every contender of benchmark NAME in turns."""
    benchmark = BENCHMARKS[name]
    if worker:
        work(next(contender for contender in benchmark.contenders if contender.name == worker))
        return
    click.echo(benchmark.about)
    click.echo(report(name, benchmark, output))


if __name__ == "__main__":
    main()
