"""A tenant with one of each trouble, by canned responses."""

from typing import Any

import pytest
from arm_server import Asked, Says, make_error_body, open_session, serve_canned

from aiomsi import AuthorizationError, inventory

pytestmark = pytest.mark.anyio

ITEM = "/subscriptions/{0}/resourceGroups/g/providers/Microsoft.X/y/n{1}"


def make_id(number: int) -> str:
    return f"{number:08}-0000-0000-0000-000000000000"


TROUBLES: dict[int, tuple[Says, int | None, str]] = {
    1: (Says(403, make_error_body("AuthorizationFailed")), 403, "AuthorizationFailed"),
    2: (Says(404, make_error_body("SubscriptionNotFound")), 404, "SubscriptionNotFound"),
    3: (
        Says(401, make_error_body("InvalidAuthenticationTokenTenant")),
        401,
        "InvalidAuthenticationTokenTenant",
    ),
    4: (Says(500, make_error_body("InternalServerError")), 500, "InternalServerError"),
    5: (Says(429, make_error_body("TooManyRequests")), 429, "TooManyRequests"),
    6: (Says(None), None, "ArmConnectionError"),
    7: (Says(200, {"value": [{"name": "no id"}]}), None, "MalformedItem"),
    8: (Says(200, "no page"), 200, "ServiceError"),
}


async def test_one_of_each_trouble_keeps_all_other_rows() -> None:
    states = {9: "Disabled"}

    def respond(asked: Asked) -> Says:
        path = asked.target.partition("?")[0]
        if path == "/subscriptions":
            return Says(
                body={
                    "value": [
                        {"subscriptionId": make_id(number), "state": states.get(number, "Enabled")}
                        for number in range(14)
                    ]
                }
            )
        number = int(path.split("/")[2][:8])
        if path.endswith("resourcegroups"):
            return Says(body={"value": []})
        if number in TROUBLES:
            return TROUBLES[number][0]
        if number == 9:
            return Says(403, make_error_body("AuthorizationFailed"))
        if number == 10:
            return Says(409, make_error_body("MissingSubscriptionRegistration"))
        page: dict[str, Any] = {"value": [{"id": ITEM.format(make_id(number), 1)}]}
        if number == 11:
            # The next page is the same one.
            page["nextLink"] = f"http://{asked.headers['Host']}{asked.target}"
        if number == 12 and "page=2" not in asked.target:
            page["nextLink"] = f"http://{asked.headers['Host']}{asked.target}&page=2"
        return Says(body=page)

    async with serve_canned() as server:
        server.usual = respond
        async with open_session(server, pacing=False) as arm:
            found = inventory.rows(arm, on_error="collect")
            rows = [row async for row in found]
            manifest = found.manifest
    assert manifest is not None
    by_number = {
        int(result.scope.subscription_id[:8]): result
        for result in manifest.results
        if result.scope.source == "list"
    }
    for number, (_, status, code) in TROUBLES.items():
        failure = by_number[number].error
        assert failure is not None
        assert (failure.status, failure.code) == (status, code), number
        assert by_number[number].state == "failed"
        assert by_number[number].attempts >= 1
    assert by_number[9].state == "unavailable"
    assert by_number[10].state == "empty"
    assert by_number[11].state == "failed"
    assert (by_number[12].rows, by_number[12].duplicates) == (1, 1)
    assert sorted(row["id"] for row in rows if row["source"] == "list") == [
        ITEM.format(make_id(number), 1) for number in (0, 12, 13)
    ]
    assert manifest.exit_code == 3
    assert manifest.summarize().startswith("incomplete: 9 of 14 subscriptions")
    assert len([row for row in rows if row["source"] == "container"]) == 14


async def test_plan_of_management_groups_reads_every_page() -> None:
    group = "/providers/Microsoft.Management/managementGroups"

    def respond(asked: Asked) -> Says:
        if asked.target.startswith("/subscriptions?"):
            return Says(body={"value": [{"subscriptionId": make_id(1), "state": "Enabled"}]})
        if asked.target.startswith(f"{group}/refused/descendants"):
            return Says(403, make_error_body("AuthorizationFailed"))
        assert asked.target.startswith(f"{group}/root/descendants?api-version=2020-05-01")
        if "skip" in asked.target:
            return Says(body={"value": [{"id": f"/subscriptions/{make_id(2)}"}]})
        link = f"http://{asked.headers['Host']}{asked.target}&skip=1"
        items = [{"id": f"/subscriptions/{make_id(1)}"}, {"id": f"{group}/nested"}]
        return Says(body={"value": items, "nextLink": link})

    async with serve_canned() as server:
        server.usual = respond
        async with open_session(server) as arm:
            plan = await inventory.plan(arm, management_groups=["root"])
            with pytest.raises(AuthorizationError):
                await inventory.plan(arm, management_groups=["root", "refused"])
    assert [one.id for one in plan.subscriptions] == [make_id(1), make_id(2)]
    assert plan.choice.management_groups == ("root",)
    # The token of these tests is opaque.
    assert plan.identity == {"client_id": None, "object_id": None, "tenant_id": None}
