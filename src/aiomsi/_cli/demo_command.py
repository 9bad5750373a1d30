"""The command `aiomsi demo`; the folder `demo` has its parts."""

from __future__ import annotations

import webbrowser
from pathlib import Path

import click

from aiomsi._cli.options import format_epilog
from aiomsi._cli.output import make_console


@click.group(
    invoke_without_command=True,
    epilog=format_epilog(
        "aiomsi demo", "aiomsi demo --calls 1000 --compare", "aiomsi demo inventory"
    ),
)
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
@click.pass_context
def demo(context: click.Context, /, calls: int, compare: bool, limit: int | None) -> None:
    """Make many ARM calls with one token request, at ARM's speed limit.

    Starts an embedded Azure on loopback, runs Microsoft's tutorial for a VM's managed identity
    against it, then many calls at once, then a crawl of a subscription whose limit is small. Needs
    no Azure and no network. Fails unless all calls succeed, with exactly one request to IMDS, and
    at most 1 % of the crawl's answers are 429.
    """
    if context.invoked_subcommand is not None:
        return
    from aiomsi._cli.demo.steps import run

    run(make_console(), calls=calls, compare=compare, limit=limit)


@demo.command(
    epilog=format_epilog(
        "aiomsi demo inventory",
        "aiomsi demo inventory --open",
        "aiomsi demo inventory --subscriptions 20 --resources 5000 --report inventory.html",
    )
)
@click.option(
    "--subscriptions",
    type=click.IntRange(3),
    default=200,
    show_default=True,
    help="Number of subscriptions.",
)
@click.option(
    "--resources",
    type=click.IntRange(1),
    default=100_000,
    show_default=True,
    help="Number of resources.",
)
@click.option(
    "--svg",
    "picture",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Save the output as a picture.",
)
@click.option(
    "--report",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the report, too: an HTML page.",
)
@click.option("--open", "is_opened", is_flag=True, help="Open the report in a browser.")
def inventory(
    subscriptions: int,
    resources: int,
    picture: Path | None,
    report: Path | None,
    is_opened: bool,
) -> None:
    """Take an inventory in which two subscriptions can't be read.

    Starts an embedded Azure on loopback, with many subscriptions and ARM's limits. One of the
    subscriptions refuses its reads, another one fails on its second page; the inventory has all
    rows of the others, and is incomplete. Needs no Azure and no network. Fails unless exactly
    these rows are missing.
    """
    from aiomsi._cli.demo.inventory import run

    run(
        make_console(),
        subscriptions=subscriptions,
        resources=resources,
        picture=picture,
        report=report,
        show=webbrowser.open if is_opened else None,
    )
