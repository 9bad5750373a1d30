"""The examples of the pages work: those of quickstart, ARM, errors, migrating and others."""

from __future__ import annotations

import asyncio
import json
import os
import re
import ssl
import subprocess
import sys
from collections import Counter
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest
from pages import ROOT, read_blocks, read_page, run_block, run_page, write_files

import aiomsi
from aiomsi._tokens.policy import DEFAULT_POLICY
from aiomsi._tokens.token import Freshness
from aiomsi.inventory import COLUMNS
from aiomsi.testing import DEFAULT_SUBSCRIPTION_ID, EmbeddedAzure, Fault, ManualClock

SUBSCRIPTION = f"/subscriptions/{DEFAULT_SUBSCRIPTION_ID}"
EMBEDDED = "docs/embedded-azure.md"
MIGRATING = "docs/migrating.md"
GROUP = f"{SUBSCRIPTION}/resourceGroups/DevTest"


def open_session() -> aiomsi.ArmSession:
    """Create a session whose waits take no time."""
    return aiomsi.ArmSession(clock=ManualClock(autoadvance=True).clock)


@pytest.mark.usefixtures("azure_environment")
def test_quickstart_reads_the_group(
    embedded_azure: EmbeddedAzure,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = run_page("docs/quickstart.md")
    names["main"](DEFAULT_SUBSCRIPTION_ID)
    assert capsys.readouterr().out == "DevTest westus\n"
    identity = embedded_azure.imds.assign_identity()
    embedded_azure.arm.grant(identity.object_id, SUBSCRIPTION)
    group = asyncio.run(names["read_group_as"](identity.client_id, GROUP))
    assert group["name"] == "DevTest"
    with EmbeddedAzure(resources=["https://vault.azure.net"]) as azure:
        for name, value in azure.environment.items():
            monkeypatch.setenv(name, value)
        assert asyncio.run(names["get_vault_token"]()).token.startswith("eyJ")


@pytest.mark.parametrize("language", ["console", "powershell"])
def test_requests_by_hand_are_accepted(embedded_azure: EmbeddedAzure, language: str) -> None:
    (text,) = (
        block.text
        for block in read_blocks("docs/quickstart.md", language)
        if "/metadata/identity" in block.text
    )
    assert re.search("Metadata(: | = ')true", text)
    (path,) = re.findall(r"169\.254\.169\.254(/[\w/]+)'", text)
    (version,) = re.findall(r"api-version'? ?= ?'?([\d-]+)[&'] ?;? ?r", text)
    query = urlencode({"api-version": version, "resource": "https://management.azure.com/"})
    assert query.partition("&")[2] in text or "resource = 'https://management.azure.com/'" in text
    token = fetch(f"{embedded_azure.imds.url}{path}?{query}", {"Metadata": "true"})["access_token"]
    (path,) = re.findall(r"https://management\.azure\.com(/sub[^']+)'", text)
    url = embedded_azure.arm.url + path.replace("SUBSCRIPTION", DEFAULT_SUBSCRIPTION_ID)
    assert fetch(url, {"Authorization": f"Bearer {token}"})["name"] == "DevTest"


def fetch(url: str, headers: dict[str, str]) -> dict[str, str]:
    """Send a GET by the standard library."""
    with urlopen(Request(url, headers=headers), timeout=30) as response:  # noqa: S310 (loopback)
        document: dict[str, str] = json.load(response)
        return document


@pytest.mark.usefixtures("azure_environment")
def test_tour_of_a_session_works(
    embedded_azure: EmbeddedAzure, capsys: pytest.CaptureFixture[str]
) -> None:
    names = run_page("docs/arm.md")
    embedded_azure.arm.add_resource(f"{GROUP}/providers/Microsoft.KeyVault/vaults/kv")

    async def main() -> None:
        async with open_session() as arm:
            await names["tour"](arm, GROUP)

    asyncio.run(main())
    first, *progress, last = capsys.readouterr().out.splitlines()
    assert first == "kv"
    assert any(line.startswith("<Operation ") for line in progress)
    assert last.endswith("/vaults/kv")


@pytest.mark.usefixtures("azure_environment")
def test_examples_of_the_fan_out_work(
    embedded_azure: EmbeddedAzure, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["DevTest", *embedded_azure.arm.add_resource_groups(DEFAULT_SUBSCRIPTION_ID, 3)]
    found = run_page("docs/fan-out.md")

    async def main() -> None:
        async with aiomsi.ArmSession() as arm:
            paths = [f"{SUBSCRIPTION}/resourceGroups/{name}" for name in (*names, "missing")]
            await found["crawl"](arm, paths)
            counts = await found["count_groups"](arm, [DEFAULT_SUBSCRIPTION_ID])
            assert counts == {DEFAULT_SUBSCRIPTION_ID: 4}
            rows = await found["read_all"](arm, [f"{SUBSCRIPTION}/resourceGroups"])
            assert [row["name"] for row in rows] == names

    asyncio.run(main())
    lines = dict(line.split(" ", 1) for line in capsys.readouterr().out.splitlines())
    ends = {path.rpartition("/")[2]: end for path, end in lines.items()}
    assert "ResourceGroupNotFound" in ends.pop("missing")
    assert ends == {name: name for name in names}


def test_gate_of_the_page_is_accepted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    credential = run_page("docs/many-processes.md")["credential"]
    assert isinstance(credential, aiomsi.ManagedIdentityCredential)


@pytest.mark.usefixtures("azure_environment")
def test_thousand_callers_of_the_page_start_one_flight(embedded_azure: EmbeddedAzure) -> None:
    assert asyncio.run(run_page("docs/single-flight.md")["count_flights"](1000)) == 1
    assert embedded_azure.counts.imds_requests == 1


def test_page_and_picture_have_the_states_and_numbers() -> None:
    page = read_page("docs/single-flight.md")
    picture = (ROOT / "docs" / "pictures" / "states.svg").read_text(encoding="utf-8")
    for state in Freshness:
        assert f"| {state.name} |" in page
        assert f">{state.name}<" in picture
    for number in (DEFAULT_POLICY.late_before_expiry, DEFAULT_POLICY.expired_before_expiry):
        assert f"{number:.0f} s before expiry" in page
        assert f"{number:.0f} s before" in picture
    assert f"up to {DEFAULT_POLICY.late_wait:.0f} s" in page
    assert f"up to {DEFAULT_POLICY.max_attempts} requests within" in page
    assert f"within {DEFAULT_POLICY.fetch_deadline:.0f} s" in page
    assert (DEFAULT_POLICY.refresh_share_long, DEFAULT_POLICY.long_life) == (0.5, 7200)
    assert (DEFAULT_POLICY.refresh_share_short, DEFAULT_POLICY.refresh_jitter) == (0.8, 0.1)


# Errors


@pytest.mark.usefixtures("azure_environment")
def test_example_of_the_errors_explains_each(
    embedded_azure: EmbeddedAzure, capsys: pytest.CaptureFixture[str]
) -> None:
    read = run_page("docs/errors.md")["read_or_explain"]

    async def main() -> list[dict[str, str] | None]:
        clock = ManualClock(autoadvance=True).clock
        async with aiomsi.ArmSession(retry=None, clock=clock) as arm:
            found = [await read(arm, GROUP), await read(arm, f"{SUBSCRIPTION}/resourceGroups/no")]
            for fault in (Fault(429, {"Retry-After": "7"}), Fault(403)):
                embedded_azure.arm.inject(fault)
                found.append(await read(arm, GROUP))
        embedded_azure.imds.inject(Fault(400, body={"error": "invalid_request"}), times=None)
        async with aiomsi.ArmSession(aiomsi.ManagedIdentityCredential(share=False)) as arm:
            return [*found, await read(arm, GROUP)]

    first, *others = asyncio.run(main())
    assert first is not None
    assert others == [None] * 4
    later, _, refused = capsys.readouterr().out.splitlines()
    assert later.startswith("later: 7")
    assert refused.startswith("IMDS 400")


@pytest.mark.slow
@pytest.mark.once
def test_page_of_the_errors_is_that_of_the_classes() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "errors_page.py")],
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.decode() == read_page("docs/errors.md"), "docs/errors_page.py --write"


def test_page_of_the_errors_has_every_class() -> None:
    page = read_page("docs/errors.md")
    errors = [
        name
        for name in aiomsi.__all__
        if isinstance(value := getattr(aiomsi, name), type) and issubclass(value, Exception)
    ]
    assert len(errors) > 20
    assert [name for name in errors if f"### `{name}`" not in page] == []


# Testing


@pytest.mark.slow
def test_recipes_for_tests_work_in_a_users_project(tmp_path: Path) -> None:
    names = write_files("docs/testing.md", tmp_path)
    assert len(names) == 6
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"]
    options = ["--rootdir", str(tmp_path), "-c", os.devnull, str(tmp_path)]
    done = subprocess.run(
        [*command, *options], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
    )
    assert " passed" in done.stdout, done.stdout
    assert done.returncode == 0, done.stdout


def test_examples_of_the_embedded_azure_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def patch_vault(azure: EmbeddedAzure) -> None:
        for name, value in azure.environment.items():
            monkeypatch.setenv(name, value)

        async def main() -> None:
            async with open_session() as arm:
                vault = f"{GROUP}/providers/Microsoft.KeyVault/vaults/kv"
                await arm.put(vault, json={"location": "westus"}, api_version="2023-07-01")

        with pytest.raises(aiomsi.OperationFailedError):
            asyncio.run(main())

    run_block(EMBEDDED, "def check")["check"](GROUP, patch_vault)
    run_block(EMBEDDED, "ArmBuckets(", subscription_id=DEFAULT_SUBSCRIPTION_ID)
    with EmbeddedAzure() as azure:
        names = run_block(
            EMBEDDED, "tree.add", azure=azure, subscription_id=DEFAULT_SUBSCRIPTION_ID
        )
        assert names["tree"] is azure.arm.management_groups


# Migrating


@pytest.mark.usefixtures("azure_environment")
def test_tokens_before_and_after_migrating_are_equal_in_kind(embedded_azure: EmbeddedAzure) -> None:
    scope = "https://management.azure.com/.default"
    before = asyncio.run(run_block(MIGRATING, "get_token_before")["get_token_before"](scope))
    after = asyncio.run(run_block(MIGRATING, "get_token_after")["get_token_after"](scope))
    assert before.startswith("eyJ")
    assert after.startswith("eyJ")


def test_lists_before_and_after_migrating_are_equal(
    embedded_azure_tls: EmbeddedAzure, azure_client_arguments: dict[str, object]
) -> None:
    embedded_azure_tls.arm.add_resource_groups(DEFAULT_SUBSCRIPTION_ID, 3)
    names = run_page("docs/migrating.md")
    before = names["list_groups_before"](DEFAULT_SUBSCRIPTION_ID, **azure_client_arguments)
    groups = asyncio.run(before)
    assert len(groups) == 4
    trust = ssl.create_default_context(cafile=str(embedded_azure_tls.ca_file))
    assert groups == asyncio.run(names["list_groups_after"](DEFAULT_SUBSCRIPTION_ID, ssl=trust))


@pytest.mark.usefixtures("azure_environment")
def test_queries_and_inventory_after_migrating_agree(embedded_azure: EmbeddedAzure) -> None:
    embedded_azure.arm.generate(subscriptions=2, resources=40)
    names = run_page("docs/migrating.md")
    counts = asyncio.run(names["count_by_type"]())
    ids = asyncio.run(names["list_resources"]())
    kinds = Counter(
        "/".join(re.split("/providers/", each, flags=re.IGNORECASE)[-1].split("/")[:2]).lower()
        for each in ids
        if "/providers/" in each
    )
    assert sum(counts.values()) == 40
    assert {name.lower(): count for name, count in counts.items()} == kinds


# Recipes


@pytest.mark.usefixtures("azure_environment")
def test_recipe_lists_groups_without_a_tag(embedded_azure: EmbeddedAzure) -> None:
    (group,) = asyncio.run(run_page("docs/recipes.md")["list_untagged"]("owner"))
    assert group.lower() == GROUP.lower()


def test_power_bi_reads_columns_that_exist() -> None:
    (block,) = read_blocks("docs/recipes.md", "text")
    named = set(re.findall(r'"([a-z_]+)"', block.text))
    assert len(named) > 5
    assert named <= set(COLUMNS)
