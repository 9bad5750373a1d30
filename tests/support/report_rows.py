"""Rows and manifests for tests of the report: those of a generated tenant, and hostile ones."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from aiomsi.inventory import (
    COLUMNS,
    Manifest,
    OutputFile,
    Plan,
    Scope,
    ScopeError,
    ScopeResult,
    Subscription,
)
from aiomsi.inventory._row import RowContext, make_row
from aiomsi.testing._state.generated_tenant import GeneratedTenant

TENANT = "72f988bf-0000-4000-8000-0000000000aa"
IDENTITY = {"object_id": "5d1c2f3e-0000-4000-8000-0000000000bb", "tenant_id": TENANT}
STARTED, ENDED = "2026-11-27T08:00:00.000000Z", "2026-11-27T08:04:10.000000Z"
HOSTILE = (
    "</script><script>window.owned=1</script>",
    "<img src=x onerror=window.owned=1>",
    "\"'><svg onload=window.owned=1>",
    "a\u2028b\u2029c",
    "\u202eevil\u202c \u05d0\u05d1\u200f",
    "$\\frac{1}{0}$ $policy ${data}",
    "]]><!-- {{7*7}} &lt;b&gt; \x01\x1b",
    "日本語 \U0001f600",
)


def make_plan(tenant: GeneratedTenant) -> Plan:
    subscriptions = tuple(
        Subscription(one.subscription_id, one.display_name, "Enabled", TENANT)
        for one in tenant.subscriptions
    )
    cloud = "https://management.azure.com"
    return Plan("run-1", subscriptions, cloud=cloud, identity=IDENTITY, started_at=STARTED)


def iter_rows(tenant: GeneratedTenant) -> Iterator[dict[str, Any]]:
    """Yield the subscriptions, groups and resources of a generated tenant."""
    for one in tenant.subscriptions:
        context = RowContext(
            one.subscription_id, one.display_name, TENANT, "list", "2021-04-01", STARTED
        )
        path = f"/subscriptions/{one.subscription_id}"
        yield make_row({"id": path}, context)
        for group in one.list_groups():
            yield make_row({"id": f"{path}/resourceGroups/{group.name}"}, context)
        for resource in tenant.list_below(path) or ():
            created = datetime.fromtimestamp(resource.created, UTC).isoformat()
            item = {
                "id": resource.id,
                "name": resource.name,
                "type": resource.type,
                "createdTime": created,
                "provisioningState": resource.state,
            }
            yield make_row(resource.document | item, context)


def make_manifest(plan: Plan, rows: int, **errors: ScopeError) -> Manifest:
    """Return the manifest of a run whose lists were read.

    Args:
        plan: the plan.
        rows: the number of rows.
        errors: errors by state, for the lists of resources of the first subscriptions.

    """
    results = [ScopeResult(scope, "read", attempts=1, read_at=STARTED) for scope in plan.scopes]
    results[0] = ScopeResult(results[0].scope, "read", rows, attempts=1, read_at=STARTED)
    for place, (state, error) in enumerate(errors.items()):
        scope = Scope(plan.subscriptions[place].id, "list")
        result = ScopeResult(scope, state, error=error, attempts=4, read_at=STARTED)  # type: ignore[arg-type]
        results[plan.scopes.index(scope)] = result
    files = (OutputFile("tenant.jsonl", "0" * 64, 1), OutputFile("tenant.errors.jsonl", "0", 1))
    return Manifest(plan, tuple(results), ENDED, files)


def make_short_row(number: int, **members: Any) -> dict[str, Any]:
    """Return a row with few values."""
    id_ = f"/subscriptions/0000/resourceGroups/g/providers/A.B/c/name-{number}"
    row = {"id": id_, "name": f"name-{number}", "type": "a.b/c", "subscription_id": "0000"}
    return dict.fromkeys(COLUMNS) | row | {"source": "list"} | members
