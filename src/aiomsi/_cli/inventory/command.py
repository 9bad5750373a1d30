"""The command `aiomsi inventory`, with the subcommand `diff`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.exceptions import Exit

from aiomsi._cli.inventory.arguments import parse_duration, parse_tags, read_names
from aiomsi._cli.inventory.diff_command import diff
from aiomsi._cli.inventory.mask import Mask
from aiomsi._cli.options import Target, arm_options, format_epilog
from aiomsi._errors import ConfigurationError

if TYPE_CHECKING:
    from aiomsi._cli.inventory.run import RunOptions

_Command = TypeVar("_Command", bound=Callable[..., Any])

_EXIT_CODES = (
    "Exit codes: 0 complete; 1 no list was read; 2 wrong usage or configuration; 3 incomplete; "
    "130 interrupted by Ctrl-C, 143 by SIGTERM, 141 the reader of the output ended. Ctrl-C twice "
    "ends the command at once; --resume continues an interrupted run."
)
_FORMATS = (".jsonl", ".csv")


def _choice_options(command: _Command) -> _Command:
    """Add the options that choose subscriptions, and the codes to ignore."""
    several: dict[str, Any] = {"multiple": True}
    for decorate in (
        click.option(
            "--ignore",
            metavar="CODE",
            help="An error code that stands for an empty list; may be repeated.",
            **several,
        ),
        click.option(
            "--tag",
            "tags",
            metavar="NAME=VALUE",
            help="A tag that a subscription must have; may be repeated.",
            **several,
        ),
        click.option(
            "--quota-id",
            "quota_ids",
            metavar="ID",
            help="An offer, such as PayAsYouGo_2014-09-01; may be repeated.",
            **several,
        ),
        click.option(
            "--states",
            metavar="STATE,...",
            help="The states of subscriptions to read; by default all but Deleted.",
        ),
        click.option(
            "--management-group",
            "groups",
            metavar="NAME",
            help="A management group, whose subscriptions at any depth are read; may be repeated.",
            **several,
        ),
        click.option(
            "--exclude",
            metavar="ID|NAME",
            help="A subscription to leave out; may be repeated. @FILE and - as above.",
            **several,
        ),
        click.option(
            "--subscription",
            "subscriptions",
            metavar="ID|NAME",
            help="A subscription, by its id or unique name; may be repeated. @FILE has one on each "
            "line, - is stdin. By default all that the identity sees.",
            **several,
        ),
    ):
        command = decorate(command)
    return command


def _run_options(command: _Command) -> _Command:
    """Add the options of the run and of its output."""
    for decorate in (
        click.option(
            "--mask",
            is_flag=True,
            help="Hide the ids of subscriptions in everything that is shown; the files have them.",
        ),
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
            help="Most requests per second.",
        ),
        click.option("--limit", type=click.IntRange(1), help="Most requests under way at once."),
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
        click.option(
            "--excel",
            is_flag=True,
            help="Write a CSV for a spreadsheet, in which no cell is read as a formula.",
        ),
        click.option(
            "-o",
            "--output",
            metavar="FILE",
            help="The file to write: x.jsonl or x.csv. The errors and the manifest get the names "
            "x.errors.jsonl and x.manifest.json.",
        ),
    ):
        command = decorate(command)
    return command


@click.group(
    invoke_without_command=True,
    epilog=format_epilog(
        "aiomsi inventory -o all.jsonl",
        "aiomsi inventory -o prod.csv --excel --tag env=prod --exclude @decommissioned.txt",
        "aiomsi inventory -o all.jsonl --resume --retry-failed",
        "aiomsi inventory diff monday.jsonl tuesday.jsonl",
        exit_codes=_EXIT_CODES,
    ),
)
@_run_options
@_choice_options
@arm_options
@click.pass_context
def inventory(context: click.Context, /, target: Target, **arguments: Any) -> None:
    """Read the resources of many subscriptions into a file, and report whether it is complete.

    The rows are the resources, resource groups and subscriptions that the identity can see. A list
    that can't be read leaves no half of its rows: it is an error in the summary, the manifest
    and x.errors.jsonl, and the exit code is 3. Progress and summary go to stderr.
    """
    if context.invoked_subcommand is not None:
        if arguments["output"] is not None:
            msg = f"{context.invoked_subcommand} takes no -o"
            raise click.UsageError(msg, context)
        return
    if arguments["output"] is None:
        msg = "the output is missing: write for example -o inventory.jsonl"
        raise click.UsageError(msg, context)
    code = run_command(
        make_options(arguments), target, arguments["progress"], is_masked=arguments["mask"]
    )
    if code:
        raise Exit(code)


inventory.add_command(diff)


def make_options(arguments: dict[str, Any]) -> RunOptions:
    """Return the options of a run, checked before any request.

    Raises:
        ConfigurationError: an option has a wrong value, or contradicts another one.

    """
    from aiomsi._cli.inventory.run import RunOptions

    get = arguments.__getitem__
    choice: dict[str, Any] = {
        "subscriptions": read_names("--subscription", get("subscriptions")) or None,
        "management_groups": get("groups") or None,
        "exclude": read_names("--exclude", get("exclude")),
        "quota_ids": get("quota_ids") or None,
        "tags": parse_tags(get("tags")),
        "ignore": get("ignore"),
    }
    if get("states"):
        choice["states"] = [state.strip() for state in get("states").split(",")]
    session: dict[str, Any] = {"pacing": not get("no_pacing")}
    if get("rate") is not None:
        session["rate"] = {"reads": get("rate")}
    max_age = None if get("max_age") is None else parse_duration(get("max_age"))
    resume = get("resume") or get("retry_failed") or max_age is not None
    if resume and get("restart"):
        msg = "--restart excludes --resume, --retry-failed and --max-age"
        raise ConfigurationError(msg, help="Leave one of them out")
    return RunOptions(
        _check_output(get("output"), excel=get("excel")),
        choice,
        session,
        get("limit"),
        resume=resume,
        restart=get("restart"),
        retry_failed=get("retry_failed"),
        max_age=max_age,
        excel=get("excel"),
    )


def _check_output(text: str, *, excel: bool) -> Path:
    """Return the path of the output.

    Raises:
        ConfigurationError: the format is not known, or the folder does not exist.

    """
    path = Path(text)
    if path.suffix not in _FORMATS:
        msg = f"the output {text!r} ends with none of {', '.join(_FORMATS)}"
        raise ConfigurationError(msg, help="Write for example -o inventory.jsonl")
    if excel and path.suffix != ".csv":
        raise ConfigurationError("--excel is an option of CSV", help="Write for example -o x.csv")
    if not path.parent.is_dir():
        msg = f"the folder {str(path.parent)!r} does not exist"
        raise ConfigurationError(msg, help="Create it, or write to another one")
    return path


def run_command(options: RunOptions, target: Target, style: Any, *, is_masked: bool) -> int:
    """Run an inventory, print its summary, and return the exit code.

    Raises:
        AiomsiError: as by `InventoryRun.run`.

    """
    from aiomsi._cli.inventory.ending import finish
    from aiomsi._cli.inventory.printers import make_printer
    from aiomsi._cli.inventory.run import InventoryRun
    from aiomsi._cli.inventory.signals import catch_signals
    from aiomsi._cli.output import make_console

    console = make_console(stderr=True)
    mask = Mask(is_masked)
    printer = make_printer(style, mask, console)
    with catch_signals(console.show_cursor) as interruption, mask.logs():
        run = InventoryRun(options, printer, mask, interruption)
        asyncio.run(run.run(target))
        return finish(run, console)
