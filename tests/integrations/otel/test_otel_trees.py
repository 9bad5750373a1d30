"""The spans of operations, lists, fan-outs, inventories and shared look-ups, as trees."""

import asyncio
from collections import Counter
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from arm_server import GROUP, VAULT, VERSION, Asked, Canned, Says, Tokens, make_error_body
from opentelemetry.trace import StatusCode
from otel_calls import list_calls, run
from otel_recorder import Recorder, find_ids, get_attributes

import aiomsi
from aiomsi import ArmSession, Outcome, Request, inventory
from aiomsi.testing import EmbeddedAzure

SECRETS = ("SIGNATURE", "CERT", "hunter2", "the-token", "SKIP")


def test_operation_is_one_tree_without_its_secrets(recorder: Recorder) -> None:
    async def work(server: Canned, arm: ArmSession) -> Any:
        record = f"{server.url}{GROUP}/providers/Microsoft.KeyVault/operations/eyJqb2IiOiIxIn0"
        record += f"?api-version={VERSION}&t=1&c=CERT&s=SIGNATURE&h=2"
        server.answers += [
            Says(201, {"properties": {}}, {"Azure-AsyncOperation": record}),
            Says(200, {"status": "Running"}),
            Says(200, {"status": "Succeeded"}),
            Says(200, {"id": VAULT}),
        ]
        return await arm.put(VAULT, api_version=VERSION, json={"password": "hunter2"})

    assert run(work, credential=Tokens(("the-token",))) == {"id": VAULT}
    assert list_calls(recorder) == [
        "ArmSession.put",
        "  PUT 201",
        "  Operation.result",
        "    GET 200",
        "    GET 200",
        "    GET 200",
    ]
    polled = get_attributes(recorder.find("GET")[0])["url.full"]
    assert polled.endswith(
        f"/operations/REDACTED?api-version={VERSION}&t=REDACTED&c=REDACTED&s=REDACTED&h=REDACTED"
    )
    assert not [secret for secret in SECRETS if secret in recorder.text()]


def test_pages_of_a_list_have_one_parent(recorder: Recorder) -> None:
    async def work(server: Canned, arm: ArmSession) -> list[Any]:
        following = f"{server.url}{GROUP}/resources?api-version={VERSION}&$skiptoken=SKIP"
        server.answers += [Says(body={"value": [1, 2], "nextLink": following})]
        server.answers += [Says(body={"value": [3]})]
        found = []
        with recorder.tracer.start_as_current_span("application"):
            async for item in arm.list(f"{GROUP}/resources", api_version=VERSION):
                # The consumer's own spans are no part of the list.
                with recorder.tracer.start_as_current_span(f"item {item}"):
                    found.append(item)
        return found

    assert run(work) == [1, 2, 3]
    assert list_calls(recorder) == [
        "application",
        "  ArmSession.list",
        "    GET 200",
        "    GET 200",
        "  item 1",
        "  item 2",
        "  item 3",
    ]
    assert "SKIP" not in recorder.text()


def test_list_that_is_left_or_fails_ends_its_span(recorder: Recorder) -> None:
    async def work(_: Canned, arm: ArmSession) -> None:
        async with aclosing(arm.pages(VAULT, api_version=VERSION)) as pages:
            assert await anext(pages) == [1]
        with pytest.raises(aiomsi.NotFoundError):
            await anext(arm.list(path=VAULT, api_version=VERSION))
        await arm.list(VAULT, api_version=VERSION).aclose()

    run(work, Says(body={"value": [1]}), Says(404, make_error_body("ParentNotFound")))
    assert [line for line in recorder.tree() if line.startswith("Arm")] == [
        "ArmSession.pages",
        "ArmSession.list ParentNotFound",
    ]


def test_fan_out_is_one_tree(recorder: Recorder) -> None:
    def answer(asked: Asked) -> Says:
        if asked.method == "DELETE":
            return Says(202, None, {"Location": f"{GROUP}/operations/1"})
        if "Nope" in asked.target:
            return Says(404, make_error_body("ResourceGroupNotFound"))
        return Says(body={"value": [1]})

    async def work(server: Canned, arm: ArmSession) -> None:
        server.usual = answer
        requests = [
            Request("GET", GROUP, api_version=VERSION),
            Request("GET", f"{GROUP}Nope", api_version=VERSION),
            Request("DELETE", VAULT, api_version=VERSION),
        ]
        with recorder.tracer.start_as_current_span("application"):
            outcomes = [one async for one in arm.fan_out(requests, ordered=True)]
            lists = [type(one) async for _, one in arm.fan_out_list(requests[:1])]
        assert [one.error is None for one in outcomes] == [True, False, True]
        assert lists == [list, Outcome]

    run(work)
    tree = list_calls(recorder)
    # The requests begin in the order of the tasks, and are sent in that of the connections.
    assert (tree[:2], sorted(tree[2:5]), tree[5:]) == (
        ["application", "  ArmSession.fan_out"],
        ["    DELETE 202", "    GET 200", "    GET 404 ResourceGroupNotFound"],
        ["    Operation.result", "      GET 200", "  ArmSession.fan_out_list", "    GET 200"],
    )
    # A failed request is an outcome, and no failure of the fan-out.
    assert recorder.find("ArmSession.fan_out")[0].status.status_code is StatusCode.UNSET


@pytest.mark.usefixtures("azure_environment")
def test_inventory_is_one_tree(
    embedded_azure: EmbeddedAzure, recorder: Recorder, tmp_path: Path
) -> None:
    embedded_azure.arm.generate(subscriptions=2, resources=6)

    async def main() -> int:
        async with ArmSession() as arm:
            count = 0
            async with aclosing(inventory.rows(arm)) as rows:
                async for _ in rows:
                    count += 1
            plan = await inventory.plan(arm)
            await inventory.run_shard(arm, plan, plan.scopes, tmp_path / "parts")
            return count

    assert asyncio.run(main()) > 6
    tree = list_calls(recorder)
    rows, plan, shard = (tree.index(f"inventory.{name}") for name in ("rows", "plan", "run_shard"))
    assert tree[rows : rows + 4] == [
        "inventory.rows",
        "  inventory.plan",
        "    ArmSession.list",
        "      GET 200",
    ]
    # One fan-out for each source.
    lists = Counter(tree[rows + 4 : plan])
    assert lists == {"  ArmSession.fan_out_list": 2, "    GET 200": lists["    GET 200"]}
    assert tree[plan:shard] == ["inventory.plan", "  ArmSession.list", "    GET 200"]
    assert tree[shard] == "inventory.run_shard"
    assert Counter(tree[shard + 1 :]) == lists


def test_shared_look_up_is_a_root_with_a_link(recorder: Recorder) -> None:
    document = {"resourceTypes": [{"resourceType": "vaults", "apiVersions": [VERSION]}]}

    async def work(_: Canned, arm: ArmSession) -> None:
        await arm.get(VAULT)

    run(work, Says(body=document), Says(body=1))
    assert list_calls(recorder) == ["ArmSession.get", "  GET 200", "aiomsi.provider", "  GET 200"]
    (look_up,), (call,) = recorder.find("aiomsi.provider"), recorder.find("ArmSession.get")
    assert [link.context.span_id for link in look_up.links] == [find_ids(call)[1]]
