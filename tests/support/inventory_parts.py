"""A run whose parts are written by hand, with rows that each format must keep."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from aiomsi.inventory import COLUMNS, Plan, Scope, ScopeError, ScopeResult, Subscription
from aiomsi.inventory._parts.folder import PartFolder

FIRST, SECOND = (f"0000000{number}-0000-4000-8000-000000000000" for number in (1, 2))
READ_AT = "2026-01-02T03:04:05.000006Z"


def make_plan(*ids: str, run_id: str = "run") -> Plan:
    return Plan(run_id, tuple(Subscription(id_) for id_ in ids or (FIRST, SECOND)))


def make_row(number: int, **columns: Any) -> dict[str, Any]:
    group = f"/subscriptions/{FIRST}/resourceGroups/g"
    return dict.fromkeys(COLUMNS) | {
        "id": f"{group}/providers/Microsoft.X/y/n{number}",
        "name": f"n{number}",
        "type": "microsoft.x/y",
        "location": "westeurope" if number % 2 else "northeurope",
        "subscription_id": FIRST,
        "created_time": f"2026-01-01T00:00:{number % 60:02}.123456Z",
        "source": "list",
        "read_at": READ_AT,
        **columns,
    }


HOSTILE: tuple[dict[str, Any], ...] = (
    {"tags": {"env": "=1+1", "a;=2": "x;=3", "ä\u2028": "\r\n", "empty": ""}},
    {"tags": {"null": None}, "zones": ["1", "2"]},
    {"name": 'q"u,o\r\nte', "kind": "'=1", "sku": {"name": "=x;=y", "n": [1, 2.5, None, True]}},
    {"subscription_name": "=cmd|' /C calc'!A0", "managed_by": "a;=b\t-c", "etag": "-1"},
    {"identity": {"deep": [[[{}]]]}, "properties": {"text": "</script>", "big": 1 << 62}},
    {"created_time": None, "changed_time": "0001-01-01T00:00:00.000000Z"},
    {"provisioning_state": "Succeeded", "resource_group": "g", "tenant_id": SECOND},
)


def make_rows(count: int = 7) -> list[dict[str, Any]]:
    return [make_row(number, **HOSTILE[number % len(HOSTILE)]) for number in range(count)]


def write_part(
    folder: Path, scope: Scope, rows: Iterable[dict[str, Any]], **columns: Any
) -> ScopeResult:
    writer = PartFolder(folder).make_writer(scope)
    writer.add(rows)
    result = ScopeResult(scope, "read", writer.rows, read_at=READ_AT, **columns)
    writer.finish(result)
    return result


def write_run(folder: Path, rows: Sequence[dict[str, Any]], plan: Plan | None = None) -> Plan:
    """Write the parts of a run in which one scope failed and the last one is pending."""
    plan = plan or make_plan()
    PartFolder(folder).open(plan)
    half = len(rows) // 2
    groups, lists, failed, _ = plan.scopes
    write_part(folder, groups, rows[:half], attempts=2, throttled=1, received=100, waited=0.5)
    write_part(folder, lists, rows[half:], attempts=1, received=1_000)
    error = ScopeError("AuthorizationFailed", "No", 403, "id")
    PartFolder(folder).make_writer(failed).finish(
        ScopeResult(failed, "failed", error=error, attempts=1, read_at=READ_AT)
    )
    return plan
