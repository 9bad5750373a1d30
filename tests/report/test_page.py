"""The page as a file: its policy, its data, and no text of a resource as markup."""

import base64
import gzip
import hashlib
import json
import os
import re
import subprocess
import sys
from html import unescape
from pathlib import Path
from typing import Any

import attrs
import pytest
from pages import run_page
from report_rows import HOSTILE, TENANT, iter_rows, make_manifest, make_plan, make_short_row

from aiomsi.inventory import Choice, Plan, ScopeError, Subscription, write_report
from aiomsi.inventory._report import columns
from aiomsi.testing._state.generated_tenant import GeneratedTenant

pytestmark = pytest.mark.usefixtures("report_extra")

PAGE = Path(__file__).parents[2] / "docs" / "inventory.md"
PLAN = make_plan(GeneratedTenant(2, 0))


def read_blocks(page: str) -> dict[str, Any]:
    found = re.findall(r'<script type="text/plain" id="data-([\w-]+)">([\w+/=]*)</script>', page)
    return {name: json.loads(gzip.decompress(base64.b64decode(text))) for name, text in found}


def test_file_is_replaced_whole_and_described(tmp_path: Path) -> None:
    path = tmp_path / "x.html"
    path.write_bytes(b"old")
    written = write_report(make_manifest(PLAN, 1), iter([make_short_row(1)]), str(path))
    data = path.read_bytes()
    assert (written.name, written.size) == ("x.html", len(data))
    assert written.sha256 == hashlib.sha256(data).hexdigest()
    assert os.listdir(tmp_path) == ["x.html"]  # noqa: PTH208 (the names)
    again = write_report(make_manifest(PLAN, 1), [make_short_row(1)], path)
    assert again == written


def test_file_stays_if_the_rows_fail(tmp_path: Path) -> None:
    def fail() -> Any:
        yield make_short_row(1)
        raise OSError(28, "full")

    path = tmp_path / "x.html"
    path.write_bytes(b"old")
    with pytest.raises(OSError, match="full"):
        write_report(make_manifest(PLAN, 1), fail(), path)
    assert path.read_bytes() == b"old"


def test_policy_has_the_hash_of_each_script_and_style(tmp_path: Path) -> None:
    write_report(make_manifest(PLAN, 0), [], tmp_path / "x.html")
    page = (tmp_path / "x.html").read_text("utf-8")
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    parts = dict(part.split(" ", 1) for part in policy.split("; "))
    assert parts["default-src"] == parts["base-uri"] == parts["form-action"] == "'none'"
    for element, directive in (("script", "script-src"), ("style", "style-src")):
        texts = re.findall(rf"<{element}>(.*?)</{element}>", page, re.DOTALL)
        hashes = [base64.b64encode(hashlib.sha256(one.encode()).digest()) for one in texts]
        assert parts[directive].split() == [f"'sha256-{one.decode()}'" for one in hashes]
        assert len(texts) == 2
    assert "unsafe" not in policy
    assert page.index(policy) < page.index("<style>")
    assert "sourceMappingURL" not in page
    assert "Permission is hereby granted" in page
    assert not re.findall(r"<[^>]*\s(?:src|href)=\"(?!#)", page)


def test_texts_of_resources_are_data_or_escaped(tmp_path: Path) -> None:
    plan = Plan("run", (Subscription("0000", HOSTILE[0]),), identity={HOSTILE[1]: HOSTILE[2]})
    rows = [
        make_short_row(
            number,
            name=text,
            id=f"/subscriptions/0000/{text}",
            type=text,
            location=text,
            subscription_name=text,
            tags={text: text},
        )
        for number, text in enumerate((*HOSTILE, "\ud800"))
    ]
    error = ScopeError(HOSTILE[0], HOSTILE[1], 403, HOSTILE[2])
    manifest = make_manifest(plan, len(rows), failed=error)
    write_report(manifest, rows, tmp_path / "x.html")
    page = (tmp_path / "x.html").read_bytes().decode()
    assert not re.findall(r"<(?:img|svg onload)|<script>window", page)
    blocks = read_blocks(page)
    assert blocks["name"] == [row["name"] for row in rows]
    assert blocks["tags"] == [f"{row['name']}={row['name']}" for row in rows]
    assert blocks["meta"]["errors"][0][4:6] == [HOSTILE[0], HOSTILE[1]]
    labels = [unescape(text) for text in re.findall(r'<text class="ink start"[^>]*>(.*?)<', page)]
    assert {HOSTILE[0], HOSTILE[1], HOSTILE[4]} <= set(labels)


@pytest.mark.slow
def test_masked_page_holds_no_id(tmp_path: Path) -> None:
    tenant = GeneratedTenant(3, 60)
    plan = make_plan(tenant)
    id_ = plan.subscriptions[0].id
    error = ScopeError("AuthorizationFailed", f"no action over scope '/subscriptions/{id_}'", 403)
    manifest = make_manifest(plan, 60, failed=error)
    page = ""
    for mask in (False, True):
        write_report(manifest, iter_rows(tenant), tmp_path / "x.html", mask=mask)
        page = (tmp_path / "x.html").read_text("utf-8")
        text = page + json.dumps(read_blocks(page))
        ids = {*(one.id for one in plan.subscriptions), TENANT}
        assert {one for one in ids if one in text} == (set() if mask else ids)
    blocks = read_blocks(page)
    assert blocks["subscription_id-values"] == [f"subscription-{n:04}" for n in (1, 2, 3)]
    assert blocks["tenant-values"] == ["tenant-01"]
    assert "the ids of subscriptions and tenants" in page


@pytest.mark.parametrize("length", [370, 380, 399])
def test_text_is_cut_after_it_is_masked(length: int, tmp_path: Path) -> None:
    id_ = PLAN.subscriptions[0].id
    error = ScopeError("Code", f"{'x' * length}{id_}", 403)
    plan = attrs.evolve(PLAN, choice=Choice(exclude=("x" * length + id_,)))
    write_report(make_manifest(plan, 0, failed=error), [], tmp_path / "x.html", mask=True)
    page = (tmp_path / "x.html").read_text("utf-8")
    (cells,) = read_blocks(page)["meta"]["errors"]
    (listed,) = re.findall(r"<li>the chosen.*?</li>", page)
    assert len(cells[5]) <= 400
    assert id_[:4] not in cells[5]
    assert id_[:4] not in listed


def test_resources_without_times_have_a_note(tmp_path: Path) -> None:
    times = [None, "1999-01-01T00:00:00.000000Z", "2026-01-01T00:00:00.000000Z"]
    rows = [make_short_row(number, created_time=time) for number, time in enumerate(times)]
    write_report(make_manifest(PLAN, 3), rows, tmp_path / "x.html")
    page = (tmp_path / "x.html").read_text("utf-8")
    assert "1 of the resources are older. 1 of the resources have no time of creation." in page
    write_report(make_manifest(PLAN, 1), rows[:1], tmp_path / "x.html")
    page = (tmp_path / "x.html").read_text("utf-8")
    assert "<h3>By month of creation</h3><p>1 of the resources have no" in page


def test_smaller_bars_are_summed_up(tmp_path: Path) -> None:
    kinds = [f"a.b/{number % 12:02}" for number in range(25)]
    rows = [make_short_row(number, type=kind) for number, kind in enumerate(kinds)]
    write_report(make_manifest(PLAN, 25), rows, tmp_path / "x.html")
    page = (tmp_path / "x.html").read_text("utf-8")
    assert "<p>2 other types have 4.</p>" in page
    write_report(make_manifest(PLAN, 25), rows[:11], tmp_path / "x.html")
    assert "<p>1 other type has 1.</p>" in (tmp_path / "x.html").read_text("utf-8")


def test_example_of_the_page_writes_a_report(tmp_path: Path) -> None:
    found = run_page("docs/inventory.md")
    output, page = tmp_path / "x.jsonl", tmp_path / "x.html"
    output.write_text("".join(json.dumps(make_short_row(number)) + "\n" for number in range(3)))
    found["write_page"](make_manifest(PLAN, 3), str(output), str(page))
    assert read_blocks(page.read_text("utf-8"))["name"] == ["name-0", "name-1", "name-2"]


def test_rows_beyond_the_table_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "MOST_ROWS", 2)
    rows = [make_short_row(number) for number in range(5)]
    write_report(make_manifest(PLAN, 5), rows, tmp_path / "x.html")
    page = (tmp_path / "x.html").read_text("utf-8")
    assert read_blocks(page)["name"] == ["name-0", "name-1"]
    assert "The first 2 of 5 rows; all of them are in tenant.jsonl." in page
    assert "3 rows of tenant.jsonl from the table" in page
    assert "<b>5</b> resources" in page


@pytest.mark.slow
def test_django_is_not_imported() -> None:
    code = (
        "import sys; from aiomsi.inventory._report.widgets import read_widgets; read_widgets(); "
        "assert not {'django', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
