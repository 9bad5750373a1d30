"""`aiomsi demo inventory`: an inventory of an embedded tenant in which two subscriptions fail."""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

import attrs
from rich.console import Console
from rich.text import Text

from aiomsi._cli.credentials import CredentialSource
from aiomsi._cli.demo.console import DemoFailedError, print_text
from aiomsi._cli.demo.steps import replace_environment
from aiomsi._cli.inventory.ending import make_summary
from aiomsi._cli.inventory.inventory_run import InventoryRun, RunOptions
from aiomsi._cli.inventory.output_mask import Mask
from aiomsi._cli.inventory.printers import Printer, RecordingPrinter, draw, make_printer
from aiomsi._cli.inventory.signals import catch_signals
from aiomsi._cli.inventory.summary import Summary, print_summary
from aiomsi._cli.options import Target
from aiomsi._clouds import PUBLIC
from aiomsi.inventory._report.widgets import check_extra
from aiomsi.testing import ArmBucket, ArmBuckets, ArmLimits, EmbeddedAzure, Fault
from aiomsi.testing._state.generated_tenant import GeneratedSubscription, GeneratedTenant

BUCKET = ArmBucket(250, 25)
"""The reads of a small subscription.

Source:
https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling
"""
_BROKEN = {"error": {"code": "InternalServerError", "message": "The page could not be read."}}
_SEED = 1
_PAGE = 1_000
_PICTURE_WIDTH = 104
_PICTURE_ROWS = 4
_COMMAND = "aiomsi demo inventory"
_FONT_FACE = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


@attrs.frozen(eq=False, repr=False)
class Tenant:
    """The subscriptions of the demo.

    Attributes:
        subscriptions: the generated subscriptions.
        forbidden: the subscription that the identity may not read.
        failing: the subscription whose second page is an error.

    """

    subscriptions: tuple[GeneratedSubscription, ...]
    forbidden: GeneratedSubscription
    failing: GeneratedSubscription

    @property
    def readable(self) -> int:
        """The number of resources in the other subscriptions."""
        lost = (self.forbidden, self.failing)
        return sum(one.size for one in self.subscriptions if one not in lost)


def choose_troubles(subscriptions: Sequence[GeneratedSubscription]) -> Tenant:
    """Choose the smallest subscription with a second page, and the smallest one.

    Raises:
        DemoFailedError: no subscription has a second page.

    """
    by_size = sorted(subscriptions, key=lambda one: (one.size, one.subscription_id))
    failing = next((one for one in by_size if one.size > _PAGE), None)
    if failing is None:
        msg = f"no subscription has more than the {_PAGE:,} resources of a page"
        raise DemoFailedError(msg, help="Repeat the command with more --resources")
    return Tenant(tuple(subscriptions), by_size[0], failing)


def run(
    console: Console,
    *,
    subscriptions: int,
    resources: int,
    picture: Path | None = None,
    report: Path | None = None,
    show: Callable[[str], object] | None = None,
) -> None:
    """Write an inventory of an embedded tenant to a temporary folder, and print its summary.

    Args:
        console: the output; control characters are written to a terminal only.
        subscriptions: number of subscriptions.
        resources: number of resources of all of them.
        picture: an SVG file to write, with the output; None for none.
        report: an HTML file to write; None for none, or a temporary one that is shown.
        show: opens the URL of the report; None leaves it closed.

    Raises:
        ConfigurationError: a report needs a package that is not installed.
        DemoFailedError: the inventory has other rows or errors than it should.

    """
    # The embedded Azure has a subscription without resources besides the generated ones.
    generated = GeneratedTenant(subscriptions - 1, resources, _SEED).subscriptions
    tenant = choose_troubles(generated)
    limits = ArmLimits(buckets=ArmBuckets(reads=BUCKET), enforced=True)
    if report is None and show is not None:
        # The browser reads the file after the end of the command.
        report = Path(mkdtemp(prefix="aiomsi-")) / "inventory.html"
    if report is not None:
        check_extra()
    print_text(
        console,
        f"An embedded Azure has {resources:,} resources in {subscriptions:,} subscriptions. One of "
        "these refuses its reads,\nanother one fails on its second page.\n",
    )
    recorder = RecordingPrinter()
    mask = Mask()
    printer = make_printer("auto", mask, console) if picture is None else recorder
    with (
        EmbeddedAzure(arm_limits=limits) as azure,
        replace_environment(azure.environment),
        TemporaryDirectory(prefix="aiomsi-") as folder,
    ):
        azure.arm.generate(subscriptions=subscriptions - 1, resources=resources, seed=_SEED)
        azure.arm.deny(f"/subscriptions/{tenant.forbidden.subscription_id}")
        path = rf"(?i)^/subscriptions/{tenant.failing.subscription_id}/resources\?.*skiptoken"
        azure.arm.inject(Fault(500, body=_BROKEN), None, path)
        output = str(Path(folder) / "inventory.jsonl")
        options = RunOptions(
            output, {"count": True}, report=None if report is None else str(report)
        )
        summary = _take(options, printer, console)
    print_summary(console, summary)
    if picture is not None:
        picture.write_text(make_picture(recorder, summary), encoding="utf-8")
        print_text(console, f"The picture is {picture}")
    if report is not None and show is not None:
        show(report.resolve().as_uri())
    judge(summary, tenant, subscriptions)


def _take(options: RunOptions, printer: Printer, console: Console) -> Summary:
    """Take the inventory, and return its summary."""
    with catch_signals(console.show_cursor) as interruption:
        done = InventoryRun(options, printer, Mask(), interruption)
        asyncio.run(done.run(Target(PUBLIC, CredentialSource())))
        if interruption.number is not None:
            raise KeyboardInterrupt
    # The other files, and the parts, are in a temporary folder.
    files = () if options.report is None else (options.report,)
    return attrs.evolve(make_summary(done), files=files, parts=None)


def judge(summary: Summary, tenant: Tenant, subscriptions: int) -> None:
    """Check that exactly the rows of two subscriptions are missing, and that the summary says so.

    Raises:
        DemoFailedError: a row is missing or too many, or another subscription failed.

    """
    manifest = summary.manifest
    text = manifest.summarize()
    rows = sum(one.rows for one in manifest.results if one.scope.source == "list")
    if not text.startswith(f"incomplete: 2 of {subscriptions} ") or rows != tenant.readable:
        msg = f"the inventory is {text}, with {rows:,} resources instead of {tenant.readable:,}"
        raise DemoFailedError(msg, help="Please report this with the output above")


def make_picture(recorder: RecordingPrinter, summary: Summary) -> str:
    """Return an SVG of the progress at its middle, and of the summary."""
    paper = Console(
        file=io.StringIO(),
        record=True,
        width=_PICTURE_WIDTH,
        force_terminal=True,
        color_system="truecolor",
    )
    paper.print(Text(f"$ {_COMMAND}", "bold"))
    paper.print(draw(recorder.middle, Mask()))
    paper.print()
    print_summary(paper, attrs.evolve(summary, most_rows=_PICTURE_ROWS))
    text = paper.export_svg(title=_COMMAND, unique_id="aiomsi-inventory")
    # A picture requests no font from another host.
    return _FONT_FACE.sub("", text)
