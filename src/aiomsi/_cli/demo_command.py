"""The command `aiomsi demo`; `demo` has its parts."""

from __future__ import annotations

import click

from aiomsi._cli.options import format_epilog
from aiomsi._cli.output import make_console


@click.command(epilog=format_epilog("aiomsi demo", "aiomsi demo --calls 1000 --compare"))
@click.option(
    "--calls",
    type=click.IntRange(1),
    default=1000,
    show_default=True,
    help="Number of concurrent calls.",
)
@click.option(
    "--compare",
    is_flag=True,
    help="Repeat them with a credential each: up to 30 s more, longer with --limit.",
)
@click.option(
    "--limit", type=click.IntRange(1), help="Most calls under way at once; by default all."
)
def demo(calls: int, compare: bool, limit: int | None) -> None:
    """Make many ARM calls with one token request.

    Starts an embedded Azure on loopback, runs Microsoft's tutorial for a VM's managed identity
    against it, and then many calls at once. Needs no Azure and no network. Fails unless all calls
    succeed with exactly one request to IMDS.
    """
    from aiomsi._cli.demo import run

    run(make_console(), calls=calls, compare=compare, limit=limit)
