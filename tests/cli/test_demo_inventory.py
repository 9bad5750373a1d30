"""The output of `aiomsi demo inventory`, and its checks."""

import asyncio
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from command_line import Run, kill

from aiomsi._arm.protocol.pacing.session_stats import ArmStats
from aiomsi._cli.demo import inventory
from aiomsi._cli.demo.console import DemoFailedError
from aiomsi._cli.inventory.inventory_run import InventoryRun, RunOptions
from aiomsi._cli.inventory.summary import Summary
from aiomsi._cli.inventory.tally import Tally
from aiomsi.inventory import Manifest, Plan, Scope, ScopeResult, Subscription
from aiomsi.inventory._plan.scopes import State
from aiomsi.testing._state.generated_tenant import GeneratedTenant

SMALL = ("--subscriptions", "6", "--resources", "2500")


@pytest.mark.slow
def test_two_subscriptions_are_missing_and_the_picture_shows_it(run: Run, tmp_path: Path) -> None:
    picture = tmp_path / "x.svg"
    before = dict(os.environ)

    said = run("demo", "inventory", *SMALL, "--svg", str(picture))

    assert said.code == 0
    assert said.err == ""
    lines = said.out.splitlines()
    assert lines[0].startswith("An embedded Azure has 2,500 resources in 6 subscriptions. ")
    assert any(line.startswith("incomplete: 2 of 6 subscriptions, ") for line in lines)
    assert "AuthorizationFailed" in said.out
    assert "InternalServerError: The page could not be read." in said.out
    assert lines[-1] == f"The picture is {picture}"
    drawn = picture.read_text(encoding="utf-8").replace("&#160;", " ")
    assert "incomplete: 2 of 6 subscriptions" in drawn
    assert re.search(r"\d+ of 6 subscriptions, [\d,]+ rows", drawn)
    # The picture requests no other file.
    assert not re.search(r"url\((?!#)", drawn)
    assert dict(os.environ) == before


def test_tenant_without_a_second_page_is_refused(run: Run) -> None:
    said = run("demo", "inventory", "--subscriptions", "3", "--resources", "10")

    assert said.code == 1
    assert said.complaint == [
        "aiomsi: no subscription has more than the 1,000 resources of a page",
        "Repeat the command with more --resources",
    ]


@pytest.mark.slow
def test_ctrl_c_ends_the_demo(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def interrupt(self: Any, arm: Any) -> None:
        kill(signal.SIGINT)
        await asyncio.sleep(60)

    monkeypatch.setattr(InventoryRun, "_run_locked", interrupt)

    assert run("demo", "inventory", *SMALL).code == 130


def make_summary(state: State = "failed", rows: int = 0) -> tuple[Summary, inventory.Tenant]:
    """Return the summary of an inventory of three subscriptions, and the tenant."""
    one, other, third = GeneratedTenant(3, 10, 1).subscriptions
    tenant = inventory.Tenant((one, other, third), one, other)
    plan = Plan("run", tuple(Subscription(each.subscription_id) for each in tenant.subscriptions))
    lost = (one.subscription_id, other.subscription_id)
    results = tuple(
        ScopeResult(Scope(each, "list"), state)
        if each in lost
        else ScopeResult(Scope(each, "list"), "read", third.size + rows)
        for each in (subscription.id for subscription in plan.subscriptions)
    )
    return Summary(Manifest(plan, results), Tally(), ArmStats(), 1.0), tenant


@pytest.mark.parametrize(("state", "rows"), [("read", 0), ("failed", 1)])
def test_other_inventory_than_expected_is_an_error(state: State, rows: int) -> None:
    summary, tenant = make_summary(state, rows)

    with pytest.raises(DemoFailedError, match="the inventory is "):
        inventory.judge(summary, tenant, 3)


def test_demo_without_a_picture_writes_none(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    summary, tenant = make_summary()
    monkeypatch.setattr(inventory, "_take", lambda *_: summary)
    monkeypatch.setattr(inventory, "choose_troubles", lambda _: tenant)

    said = run("demo", "inventory", "--subscriptions", "3")

    assert (said.code, said.err) == (0, "")
    assert "incomplete: 2 of 3 subscriptions, " in said.out
    assert not list(tmp_path.iterdir())


def test_report_is_opened_if_asked(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    summary, tenant = make_summary()
    reports: list[str | None] = []
    opened: list[str] = []

    def take(options: RunOptions, *_: object) -> Summary:
        reports.append(options.report)
        return summary

    monkeypatch.setattr(inventory, "_take", take)
    monkeypatch.setattr(inventory, "choose_troubles", lambda _: tenant)
    monkeypatch.setattr(inventory, "check_extra", lambda: None)
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    for arguments in (("--open",), ("--report", "x.html")):
        assert run("demo", "inventory", "--subscriptions", "3", *arguments).code == 0

    temporary, given = reports
    assert temporary is not None
    assert given == "x.html"
    assert opened == [Path(temporary).as_uri()]
    assert Path(temporary).parent.parent == tmp_path
