"""The command `aiomsi inventory`, with the subcommand `diff`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click
from click.exceptions import Exit

from aiomsi._cli.arguments import parse_pairs
from aiomsi._cli.inventory.diff_command import diff
from aiomsi._cli.inventory.option_groups import (
    add_choice_options,
    add_output_options,
    add_row_options,
    run_options,
)
from aiomsi._cli.inventory.option_values import (
    check_places,
    parse_duration,
    read_names,
    split_names,
)
from aiomsi._cli.options import Target, add_arm_options, format_epilog
from aiomsi._errors import ConfigurationError

if TYPE_CHECKING:
    from aiomsi._cli.inventory.inventory_run import RunOptions
    from aiomsi._cli.inventory.printers import Style

_EXIT_CODES = (
    "Exit codes: 0 complete; 1 no list was read, or another error; 2 wrong usage or configuration; "
    "3 incomplete; 130 interrupted by Ctrl-C, 143 by SIGTERM, 141 the reader of the output ended. "
    "Ctrl-C twice ends the command at once; --resume continues an interrupted run."
)


@click.group(
    invoke_without_command=True,
    epilog=format_epilog(
        "aiomsi inventory -o all.jsonl",
        "aiomsi inventory -o prod.csv --excel --tag env=prod --exclude @decommissioned.txt",
        "aiomsi inventory -o all.jsonl --resume --retry-failed",
        "aiomsi inventory -o all.parquet --properties --report all.html --mask",
        "aiomsi inventory -o - --type Microsoft.Compute/disks | jq .sku_name",
        "aiomsi inventory diff monday.jsonl tuesday.jsonl",
        exit_codes=_EXIT_CODES,
    ),
)
@add_output_options
@add_row_options
@add_choice_options
@run_options
@add_arm_options
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
    options = make_options(arguments)
    code = run_command(options, target, arguments["progress"], is_masked=arguments["mask"])
    if code:
        raise Exit(code)


inventory.add_command(diff)


def make_options(arguments: dict[str, Any]) -> RunOptions:
    """Return the options of a run, checked before any request.

    Raises:
        ConfigurationError: an option has a wrong value, or contradicts another one.

    """
    from aiomsi._cli.inventory.inventory_run import RunOptions

    get = arguments.__getitem__
    session: dict[str, Any] = {"pacing": not get("no_pacing")}
    if get("rate") is not None:
        session["rate"] = {"reads": get("rate")}
    max_age = None if get("max_age") is None else parse_duration(get("max_age"))
    resume = get("resume") or get("retry_failed") or max_age is not None
    if resume and get("restart"):
        msg = "--restart excludes --resume, --retry-failed and --max-age"
        raise ConfigurationError(msg, help="Leave one of them out")
    if resume and get("output") == "-" and get("parts") is None:
        msg = "the parts of standard output are temporary, so no run can be resumed"
        raise ConfigurationError(msg, help="Name a folder with --parts")
    storage = parse_pairs("--storage-option", get("storage"))
    check_places(get("output"), get("report"), excel=get("excel"), storage=storage)
    return RunOptions(
        get("output"),
        make_plan_arguments(arguments),
        session,
        get("parts"),
        storage,
        get("limit"),
        resume=resume,
        restart=get("restart"),
        retry_failed=get("retry_failed"),
        max_age=max_age,
        excel=get("excel"),
        report=get("report"),
    )


def make_plan_arguments(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of `aiomsi.inventory.plan`.

    Raises:
        ConfigurationError: a file of names can't be read, a list is empty, or a tag is malformed.

    """
    get = arguments.__getitem__
    found: dict[str, Any] = {
        "subscriptions": read_names("--subscription", get("subscriptions")) or None,
        "management_groups": get("groups") or None,
        "exclude": read_names("--exclude", get("exclude")),
        "quota_ids": get("quota_ids") or None,
        "tags": parse_pairs("--tag", get("tags")),
        "ignore": get("ignore"),
        "properties": get("properties"),
        "tables": get("tables"),
        "kinds": split_names("--kinds", get("kinds")),
        "types": split_names("--type", get("types")) or None,
        "locations": get("locations") or None,
        "resource_groups": get("resource_groups") or None,
        "where": get("where"),
        "count": not get("no_count"),
    }
    if get("states") is not None:
        found["states"] = split_names("--states", [get("states")])
    return found


def run_command(options: RunOptions, target: Target, style: Style, *, is_masked: bool) -> int:
    """Run an inventory, print its summary, and return the exit code.

    Raises:
        AiomsiError: as by `InventoryRun.run`.

    """
    from aiomsi._cli.inventory.ending import finish
    from aiomsi._cli.inventory.inventory_run import InventoryRun
    from aiomsi._cli.inventory.output_mask import Mask
    from aiomsi._cli.inventory.printers import make_printer
    from aiomsi._cli.inventory.signals import catch_signals
    from aiomsi._cli.output import make_console

    console = make_console(stderr=True)
    mask = Mask(is_masked)
    printer = make_printer(style, mask, console)
    with catch_signals(console.show_cursor) as interruption, mask.logs():
        run = InventoryRun(options, printer, mask, interruption)
        asyncio.run(run.run(target))
        return finish(run, console)
