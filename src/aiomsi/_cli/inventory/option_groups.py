"""The options of `aiomsi inventory`, in the groups of its help."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _make_option(*names: str, metavar: str, text: str) -> Callable[[_Command], _Command]:
    """Return an option that may be repeated."""
    return click.option(*names, multiple=True, metavar=metavar, help=f"{text}; may be repeated.")


def add_choice_options(command: _Command) -> _Command:
    """Add the options that choose subscriptions."""
    for decorate in (
        _make_option(
            "--ignore", metavar="CODE", text="An error code that stands for an empty list"
        ),
        _make_option(
            "--tag", "tags", metavar="NAME=VALUE", text="A tag that a subscription must have"
        ),
        _make_option(
            "--quota-id", "quota_ids", metavar="ID", text="An offer, such as MSDN_2014-09-01"
        ),
        click.option(
            "--states",
            metavar="STATE,...",
            help="The states of subscriptions to read; by default all but Deleted.",
        ),
        _make_option(
            "--management-group",
            "groups",
            metavar="NAME",
            text="A management group, whose subscriptions at any depth are read",
        ),
        _make_option(
            "--exclude",
            metavar="ID|NAME",
            text="A subscription to leave out, or @FILE or -, as for --subscription",
        ),
        _make_option(
            "--subscription",
            "subscriptions",
            metavar="ID|NAME",
            text="A subscription, by its id or unique name. @FILE has one on each line, - is "
            "stdin. By default all that the identity sees",
        ),
    ):
        command = decorate(command)
    return command


def add_row_options(command: _Command) -> _Command:
    """Add the options that choose sources and rows."""
    for decorate in (
        click.option(
            "--no-count",
            is_flag=True,
            help="Do not count the resources by Resource Graph before the run. The count gives "
            "the time that is left, and the drift.",
        ),
        click.option(
            "--where",
            metavar="KQL",
            help="A predicate for rows of Resource Graph; needs --properties or --graph-table.",
        ),
        _make_option(
            "--resource-group",
            "resource_groups",
            metavar="NAME",
            text="A resource group to keep",
        ),
        _make_option("--location", "locations", metavar="NAME", text="A location to keep"),
        _make_option("--type", "types", metavar="TYPE,...", text="Resource types to keep"),
        _make_option(
            "--graph-table",
            "tables",
            metavar="NAME",
            text="A further table of Resource Graph, such as SecurityResources",
        ),
        _make_option(
            "--kinds",
            metavar="TYPE,...",
            text="Resource types to read by their own lists, with properties; children, such as "
            "Microsoft.Network/virtualNetworks/subnets, in each parent",
        ),
        click.option(
            "--properties",
            is_flag=True,
            help="Read the resources from Resource Graph, with their properties.",
        ),
    ):
        command = decorate(command)
    return command


def run_options(command: _Command) -> _Command:
    """Add the options of the run."""
    for decorate in (
        click.option(
            "--progress",
            type=click.Choice(["auto", "plain", "json", "none"]),
            default="auto",
            show_default=True,
            help="Progress on stderr: auto is live on a terminal, else a line every 10 s; json "
            "prints a line of JSON every 10 s.",
        ),
        click.option("--no-pacing", is_flag=True, help="Do not wait for ARM's limits."),
        click.option(
            "--rate",
            type=click.FloatRange(0, min_open=True),
            metavar="N",
            help="Most reads per second.",
        ),
        click.option("--limit", type=click.IntRange(1), help="Most lists under way at once."),
        click.option(
            "--max-age",
            metavar="DURATION",
            help="Continue, and read lists again that are older, for example 6h.",
        ),
        click.option(
            "--retry-failed",
            is_flag=True,
            help="Continue, and read the lists again that failed.",
        ),
        click.option(
            "--restart",
            is_flag=True,
            help="Remove the parts of an interrupted run, and begin anew.",
        ),
        click.option(
            "--resume",
            is_flag=True,
            help="Continue an interrupted or incomplete run with the same arguments; begin if "
            "there is none.",
        ),
    ):
        command = decorate(command)
    return command


def add_output_options(command: _Command) -> _Command:
    """Add the options of the output."""
    for decorate in (
        _make_option(
            "--storage-option",
            "storage",
            metavar="NAME=VALUE",
            text="An option of the file system of a URL, for example account_name=mine",
        ),
        click.option(
            "--parts",
            metavar="FOLDER",
            help="The folder or URL of the parts from which a run is resumed; by default beside "
            "the output, and temporary for -.",
        ),
        click.option(
            "--mask",
            is_flag=True,
            help="Show numbers in the place of the ids of subscriptions and tenants, on stderr and "
            "in the report; the other files have them.",
        ),
        click.option(
            "--report",
            type=click.Path(dir_okay=False),
            metavar="FILE",
            help="Write a report, too: an HTML page with charts, errors and a table.",
        ),
        click.option(
            "--excel",
            is_flag=True,
            help="Write a CSV for a worksheet: with a byte order mark, and no more rows than "
            "it has.",
        ),
        click.option(
            "-o",
            "--output",
            metavar="OUTPUT",
            help="x.jsonl, x.csv, x.parquet, a folder DIR/ with a Parquet file for each list, a "
            "URL such as abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/x.jsonl, or - for JSON "
            "Lines on stdout. Beside x.jsonl are x.errors.jsonl and x.manifest.json.",
        ),
    ):
        command = decorate(command)
    return command
