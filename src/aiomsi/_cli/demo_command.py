"""The command `aiomsi demo`; the folder `demo` has its parts."""

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
    help="Number of concurrent calls; the crawl has at most 1000.",
)
@click.option(
    "--compare",
    is_flag=True,
    help="Repeat them with a credential each, and the crawl without pacing: up to a minute more, "
    "longer with --limit.",
)
@click.option(
    "--limit", type=click.IntRange(1), help="Most calls under way at once; by default all."
)
def demo(calls: int, compare: bool, limit: int | None) -> None:
    """Make many ARM calls with one token request, at ARM's speed limit.

    Starts an embedded Azure on loopback, runs Microsoft's tutorial for a VM's managed identity
    against it, then many calls at once, then a crawl of a subscription whose limit is small. Needs
    no Azure and no network. Fails unless all calls succeed, with exactly one request to IMDS, and
    at most 1 % of the crawl's answers are 429.
    """
    from aiomsi._cli.demo.run import run

    run(make_console(), calls=calls, compare=compare, limit=limit)
