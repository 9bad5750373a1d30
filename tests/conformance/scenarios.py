"""The scenarios of Microsoft's test server for SDKs: how each runs, and how it must end.

The names are those of the server's own report. Ends follow the server's API definitions
(``swagger/lro.json`` and ``swagger/paging.json`` in its package) and, where these describe only
the service, ARM's contract.

Source: https://github.com/Azure/autorest.testserver,
https://github.com/Azure/azure-resource-manager-rpc/blob/master/v1.0/async-api-reference.md
"""

from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from typing import Any, TypeAlias

import attrs

from aiomsi import (
    ArmAttempt,
    ArmError,
    ArmRetry,
    ArmSession,
    NotFoundError,
    OperationCanceledError,
    OperationFailedError,
    OperationUnreadableError,
    ServiceError,
)

VERSION = "1.0.0"
"""The api-version of the server's definitions."""

Drive: TypeAlias = Callable[[ArmSession], AsyncIterator[Any]]
"""Makes the calls, and gives what they bring: one value, or a list's items."""


@attrs.frozen
class Scenario:
    """One line of the report.

    Attributes:
        name: the scenario's name in the report.
        drive: sends the calls.
        gives: all results of the calls, before an error.
        raises: the error of the calls; None without one.
        status: the HTTP status of the error; None without one.
        also: further scenarios that the server counts for the same calls.
        cookie: the server's first state, which it keeps in a cookie.

    """

    name: str
    drive: Drive
    gives: tuple[Any, ...] = ()
    raises: type[Exception] | None = None
    status: int | None = None
    also: tuple[str, ...] = ()
    cookie: str | None = None


def expect_failure(
    name: str, drive: Drive, raises: type[Exception], status: int, *gives: Any
) -> Scenario:
    """Create a scenario that ends with an error after its results."""
    return Scenario(name, drive, gives, raises, status)


def expect_unreadable(name: str, drive: Drive, status: int) -> Scenario:
    """Create a scenario whose polls end with a response without a state."""
    return expect_failure(name, drive, OperationUnreadableError, status)


# Calls


def call(verb: str, path: str, **options: Any) -> Drive:
    """Send one call and wait for its end."""

    async def drive(arm: ArmSession) -> AsyncIterator[Any]:
        yield await getattr(arm, verb)(path, api_version=VERSION, **options)

    return drive


get, put, patch, post, delete = (
    partial(call, verb) for verb in ("get", "put", "patch", "post", "delete")
)


def run_operation(via: Any, path: str) -> Drive:
    """POST and wait for the end, with the place of the result from the API's definition."""

    async def drive(arm: ArmSession) -> AsyncIterator[Any]:
        yield await (
            await arm.begin("POST", path, api_version=VERSION, final_state_via=via)
        ).result()

    return drive


def list_items(path: str, **options: Any) -> Drive:
    """Read a list, and yield the ids of its items."""

    async def drive(arm: ArmSession) -> AsyncIterator[Any]:
        async for item in arm.list(path, api_version=VERSION, **{"item_name": "values", **options}):
            yield item["properties"]["id"]

    return drive


async def read_only_page(arm: ArmSession) -> AsyncIterator[Any]:
    """Read a list with one page by its definition, even if that page has a link."""
    async for page in arm.pages(
        "/paging/nullnextlink", api_version=VERSION, item_name="values", prefetch=False
    ):
        for item in page:
            yield item["properties"]["id"]
        break


async def request_page(arm: ArmSession) -> AsyncIterator[Any]:
    """GET a list with a body by `request`: no list of ARM needs one, so `list` sends none."""
    page = await arm.request(
        "GET", "/paging/single/getWithBodyParams", api_version=VERSION, json={"name": "body"}
    )
    for item in page.json()["values"]:
        yield item["properties"]["id"]


async def run_operation_with_a_list(arm: ArmSession) -> AsyncIterator[Any]:
    """POST, wait for the list's first page, and read on from there."""
    page = await arm.post("/paging/multiple/lro", api_version=VERSION)
    for item in page["values"]:
        yield item["properties"]["id"]
    async for item in arm.list(page["nextLink"], api_version=VERSION, item_name="values"):
        yield item["properties"]["id"]


def repeat_once(attempt: ArmAttempt, usual: ArmRetry = ArmRetry()) -> float | None:  # noqa: B008 (a frozen value)
    """Repeat calls as usual, and a POST once: only its caller knows the effect of a second one."""
    if attempt.method == "POST" and attempt.status == 500:
        return 0.0 if attempt.number == 1 else None
    return usual(attempt)


# Results

FOO = {"id": "100", "name": "foo"}
READY = {"properties": {"provisioningState": "Succeeded"}, **FOO}
SKU = {"name": "sku", "id": "100"}
SUBRESOURCE = {"properties": {"provisioningState": "Succeeded"}, "id": "100", "subresource": "sub1"}
TEN = tuple(range(1, 11))
NOTHING = (None,)
# A body that every resource here has: a write whose first request brought a 500 is looked at before
# it is repeated.
BODY = {"name": "foo"}
TRACED = {"x-ms-client-request-id": "9C4D50EE-2D56-4CD3-8152-34347DC9F2B0"}

OPERATIONS = (
    # Operations that end at once
    Scenario("LROPutInlineComplete", put("/lro/put/200/succeeded", json=BODY), (READY,)),
    Scenario("LROPutInlineComplete201", put("/lro/put/201/succeeded", json=BODY), (READY,)),
    Scenario(
        "LROPut200InlineCompleteNoState", put("/lro/put/200/succeeded/nostate", json=BODY), (FOO,)
    ),
    Scenario(
        "LROPatchInlineCompleteIgnoreHeaders",
        patch("/lro/patch/200/succeeded/ignoreheaders", json=BODY),
        (READY,),
    ),
    Scenario("LRODeleteInlineComplete", delete("/lro/delete/204/succeeded"), NOTHING),
    # PUT and PATCH
    Scenario(
        "LROPutSucceededWithBody", put("/lro/put/201/creating/succeeded/200", json=BODY), (READY,)
    ),
    Scenario(
        "LROPutSucceededNoBody", put("/lro/put/200/updating/succeeded/200", json=BODY), (READY,)
    ),
    expect_failure(
        "LROPutFailed", put("/lro/put/201/created/failed/200", json=BODY), OperationFailedError, 200
    ),
    expect_failure(
        "LROPutCanceled",
        put("/lro/put/200/accepted/canceled/200", json=BODY),
        OperationCanceledError,
        200,
    ),
    Scenario("LROPut202Retry200", put("/lro/put/202/retry/200", json=BODY), (FOO,)),
    Scenario("LROPutNoHeaderInRetry", put("/lro/put/noheader/202/200", json=BODY), (READY,)),
    Scenario(
        "LROPutSubResourceInRetry", put("/lro/putsubresource/202/200", json=BODY), (SUBRESOURCE,)
    ),
    Scenario("LROPutNonResourceInRetry", put("/lro/putnonresource/202/200", json=BODY), (SKU,)),
    Scenario(
        "LROPutAsyncRetrySucceeded", put("/lro/putasync/retry/succeeded", json=BODY), (READY,)
    ),
    Scenario(
        "LROPutAsyncNoRetrySucceeded", put("/lro/putasync/noretry/succeeded", json=BODY), (READY,)
    ),
    expect_failure(
        "LROPutAsyncRetryFailed",
        put("/lro/putasync/retry/failed", json=BODY),
        OperationFailedError,
        200,
    ),
    expect_failure(
        "LROPutAsyncNoRetryCanceled",
        put("/lro/putasync/noretry/canceled", json=BODY),
        OperationCanceledError,
        200,
    ),
    Scenario(
        "LROPutAsyncNoHeaderInRetry", put("/lro/putasync/noheader/201/200", json=BODY), (READY,)
    ),
    Scenario(
        "LROPutSubResourceAsyncInRetry",
        put("/lro/putsubresourceasync/202/200", json=BODY),
        (SUBRESOURCE,),
    ),
    Scenario(
        "LROPutNonResourceAsyncInRetry", put("/lro/putnonresourceasync/202/200", json=BODY), (SKU,)
    ),
    Scenario(
        "LROPatch201WithAsyncHeader",
        patch("/lro/patch/201/retry/onlyAsyncHeader", json=BODY),
        ({**READY, "id": "/lro/patch/201/retry/onlyAsyncHeader"},),
    ),
    Scenario(
        "LROPatch202WithAsyncAndLocationHeader",
        patch("/lro/patch/202/retry/asyncAndLocationHeader", json=BODY),
        ({**READY, "id": "/lro/patch/202/retry/asyncAndLocationHeader"},),
    ),
    # DELETE. A 200 from a Location stands for the response of the deletion itself, with any
    # state in it.
    Scenario("LRODelete200", delete("/lro/delete/202/retry/200"), NOTHING),
    Scenario("LRODelete204", delete("/lro/delete/202/noretry/204"), NOTHING),
    Scenario("LRODeleteNoHeaderInRetry", delete("/lro/delete/noheader"), NOTHING),
    Scenario(
        "LRODeleteProvisioningSucceededWithBody",
        delete("/lro/delete/provisioning/202/accepted/200/succeeded"),
        (READY,),
    ),
    Scenario(
        "LRODeleteProvisioningFailed",
        delete("/lro/delete/provisioning/202/deleting/200/failed"),
        ({**FOO, "properties": {"provisioningState": "Failed"}},),
    ),
    Scenario(
        "LRODeleteProvisioningCanceled",
        delete("/lro/delete/provisioning/202/deleting/200/canceled"),
        ({**FOO, "properties": {"provisioningState": "Canceled"}},),
    ),
    Scenario("LRODeleteAsyncRetrySucceeded", delete("/lro/deleteasync/retry/succeeded"), NOTHING),
    Scenario(
        "LRODeleteAsyncNoRetrySucceeded", delete("/lro/deleteasync/noretry/succeeded"), NOTHING
    ),
    expect_failure(
        "LRODeleteAsyncRetryFailed",
        delete("/lro/deleteasync/retry/failed"),
        OperationFailedError,
        200,
    ),
    expect_failure(
        "LRODeleteAsyncRetryCanceled",
        delete("/lro/deleteasync/retry/canceled"),
        OperationCanceledError,
        200,
    ),
    Scenario("LRODeleteAsyncNoHeaderInRetry", delete("/lro/deleteasync/noheader/202/204"), NOTHING),
    # POST
    Scenario("LROPost200", post("/lro/post/payload/200"), ({"id": "1", "name": "product"},)),
    Scenario("LROPostSuccededWithBody", post("/lro/post/202/retry/200"), (READY,)),
    Scenario("LROPostSuccededNoBody", post("/lro/post/202/noretry/204"), NOTHING),
    Scenario("LROPostAndGetList", post("/lro/list"), ([FOO],)),
    Scenario("LROPostAsyncRetrySucceeded", post("/lro/postasync/retry/succeeded"), (READY,)),
    Scenario("LROPostAsyncNoRetrySucceeded", post("/lro/postasync/noretry/succeeded"), (READY,)),
    expect_failure(
        "LROPostAsyncRetryFailed", post("/lro/postasync/retry/failed"), OperationFailedError, 200
    ),
    expect_failure(
        "LROPostAsyncRetryCanceled",
        post("/lro/postasync/retry/canceled"),
        OperationCanceledError,
        200,
    ),
    Scenario(
        "LROPostDoubleHeadersFinalLocationGet",
        run_operation("location", "/lro/LROPostDoubleHeadersFinalLocationGet"),
        (FOO,),
        also=("LROPostDoubleHeadersFinalLocationPost", "LROPostDoubleHeadersFinalLocationAsync"),
    ),
    Scenario(
        "LROPostDoubleHeadersFinalAzureHeaderGet",
        run_operation("azure-async-operation", "/lro/LROPostDoubleHeadersFinalAzureHeaderGet"),
        ({"status": "succeeded", "id": "100"},),
    ),
    Scenario(
        "LROPostDoubleHeadersFinalAzureHeaderGetDefault",
        post("/lro/LROPostDoubleHeadersFinalAzureHeaderGetDefault"),
        (FOO,),
    ),
    Scenario("LROParameterizedEndpoint", post("/lroParameterizedEndpoints"), ("success",)),
    Scenario(
        "LROConstantParameterizedGet",
        post("/lroConstantParameterizedEndpoints/iAmConstant"),
        ("success",),
        also=("LROConstantParameterizedPost",),
    ),
    # With a request id of the caller, which the server requires on every poll
    Scenario(
        "CustomHeaderPutSucceeded",
        put("/lro/customheader/put/201/creating/succeeded/200", headers=TRACED),
        (READY,),
    ),
    Scenario(
        "CustomHeaderPutAsyncSucceded",
        put("/lro/customheader/putasync/retry/succeeded", headers=TRACED),
        (READY,),
    ),
    Scenario(
        "CustomHeaderPostSucceeded",
        post("/lro/customheader/post/202/retry/200", headers=TRACED),
        NOTHING,
    ),
    Scenario(
        "CustomHeaderPostAsyncSucceded",
        post("/lro/customheader/postasync/retry/succeeded", headers=TRACED),
        ({"status": "Succeeded"},),
    ),
)

FAILURES_THAT_PASS = (
    Scenario(
        "LRORetryPutSucceededWithBody",
        put("/lro/retryerror/put/201/creating/succeeded/200", json=BODY),
        (READY,),
    ),
    Scenario(
        "LRORetryErrorPutAsyncSucceeded",
        put("/lro/retryerror/putasync/retry/succeeded", json=BODY),
        (READY,),
    ),
    # The GET of the resource resets the server's state. So the polls of this operation
    # are a separate scenario, which begins after the first 500.
    Scenario(
        "LRORetryErrorPutAsyncSucceededPolling",
        put("/lro/retryerror/putasync/retry/succeeded", json=BODY),
        (READY,),
        cookie="LRORetryErrorPutAsyncSucceeded",
    ),
    Scenario(
        "LRORetryErrorDelete202Accepted200Succeeded",
        delete("/lro/retryerror/delete/provisioning/202/accepted/200/succeeded"),
        (READY,),
    ),
    Scenario(
        "LRORetryErrorDelete202Retry200Succeeded",
        delete("/lro/retryerror/delete/202/retry/200"),
        (READY,),
    ),
    Scenario(
        "LRORetryErrorDeleteAsyncRetrySucceeded",
        delete("/lro/retryerror/deleteasync/retry/succeeded"),
        NOTHING,
    ),
    Scenario(
        "LRORetryErrorPost202Retry200Succeeded",
        post("/lro/retryerror/post/202/retry/200"),
        (READY,),
    ),
    Scenario(
        "LRORetryErrorPostAsyncRetrySucceeded",
        post("/lro/retryerror/postasync/retry/succeeded"),
        (SKU,),
    ),
)

FAILURES = (
    expect_failure(
        "LRONonRetryPut400", put("/lro/nonretryerror/put/400", json=BODY), ArmError, 400
    ),
    expect_unreadable(
        "LRONonRetryPut201Creating400",
        put("/lro/nonretryerror/put/201/creating/400", json=BODY),
        400,
    ),
    expect_unreadable(
        "LRONonRetryPut201Creating400InvalidJson",
        put("/lro/nonretryerror/put/201/creating/400/invalidjson", json=BODY),
        400,
    ),
    expect_unreadable(
        "LRONonRetryPutAsyncRetry400", put("/lro/nonretryerror/putasync/retry/400", json=BODY), 400
    ),
    expect_failure("LRONonRetryDelete400", delete("/lro/nonretryerror/delete/400"), ArmError, 400),
    expect_failure(
        "LRONonRetryDelete202Retry400",
        delete("/lro/nonretryerror/delete/202/retry/400"),
        OperationFailedError,
        400,
    ),
    expect_failure("LRONonRetryPost400", post("/lro/nonretryerror/post/400"), ArmError, 400),
    expect_failure(
        "LRONonRetryPost202Retry400",
        post("/lro/nonretryerror/post/202/retry/400"),
        OperationFailedError,
        400,
    ),
    expect_unreadable(
        "LRONonRetryPostAsyncRetry400", post("/lro/nonretryerror/postasync/retry/400"), 400
    ),
    # A service that breaks the contract. Without a provisioningState the resource is
    # there; this one just isn't shown.
    Scenario(
        "LROErrorPut201NoProvisioningStatePayload",
        put("/lro/error/put/201/noprovisioningstatepayload"),
        NOTHING,
    ),
    expect_failure(
        "LROErrorPut200InvalidJson", put("/lro/error/put/200/invalidjson"), ServiceError, 200
    ),
    expect_unreadable(
        "LROErrorPutAsyncNoPollingStatus", put("/lro/error/putasync/retry/nostatus"), 200
    ),
    expect_unreadable(
        "LROErrorPutAsyncNoPollingStatusPayload",
        put("/lro/error/putasync/retry/nostatuspayload"),
        200,
    ),
    expect_unreadable(
        "LROErrorPutAsyncInvalidHeader", put("/lro/error/putasync/retry/invalidheader"), 404
    ),
    expect_unreadable(
        "LROErrorPutAsyncInvalidJsonPolling",
        put("/lro/error/putasync/retry/invalidjsonpolling"),
        200,
    ),
    Scenario("LROErrorDeleteNoLocation", delete("/lro/error/delete/204/nolocation"), NOTHING),
    # The record can't be read, and a GET of the resource answers 404: it is gone.
    Scenario(
        "LRONonRetryDeleteAsyncRetry400",
        delete("/lro/nonretryerror/deleteasync/retry/400"),
        NOTHING,
    ),
    Scenario(
        "LROErrorDelete202RetryInvalidHeader",
        delete("/lro/error/delete/202/retry/invalidheader"),
        NOTHING,
    ),
    Scenario(
        "LROErrorDeleteAsyncNoPollingStatus",
        delete("/lro/error/deleteasync/retry/nostatus"),
        NOTHING,
    ),
    Scenario(
        "LROErrorDeleteAsyncInvalidJsonPolling",
        delete("/lro/error/deleteasync/retry/invalidjsonpolling"),
        NOTHING,
    ),
    Scenario(
        "LROErrorDeleteAsyncInvalidHeader",
        delete("/lro/error/deleteasync/retry/invalidheader"),
        NOTHING,
    ),
    # Accepted, without a URL to poll: the call itself succeeded, and more can't be
    # known.
    Scenario("LROErrorPostNoLocation", post("/lro/error/post/202/nolocation"), NOTHING),
    expect_unreadable(
        "LROErrorPost202RetryInvalidHeader", post("/lro/error/post/202/retry/invalidheader"), 404
    ),
    expect_unreadable(
        "LROErrorPostAsyncNoPollingPayload", post("/lro/error/postasync/retry/nopayload"), 200
    ),
    expect_unreadable(
        "LROErrorPostAsyncInvalidHeader", post("/lro/error/postasync/retry/invalidheader"), 404
    ),
    expect_unreadable(
        "LROErrorPostAsyncInvalidJsonPolling",
        post("/lro/error/postasync/retry/invalidjsonpolling"),
        200,
    ),
)

LISTS = (
    Scenario("PagingNoItemName", list_items("/paging/noitemname", item_name="value"), (1,)),
    Scenario("PagingNextLinkNameNull", read_only_page, (1,)),
    Scenario("PagingEmptyNextLink", list_items("/paging/emptynextlink", item_name="value"), (1,)),
    Scenario("PagingSingle", list_items("/paging/single"), (1,)),
    Scenario("PagingSingleWithBodyParams", request_page, (1,)),
    Scenario(
        "PagingReturnModelWithXMSClientName", list_items("/paging/itemNameWithXMSClientName"), (1,)
    ),
    Scenario("PagingDontSendMaxPageSize", list_items("/paging/maxPageSize"), ()),
    Scenario(
        "PagingFirstResponseEmpty",
        list_items("/paging/firstResponseEmpty/1", item_name="value"),
        (1,),
    ),
    Scenario(
        "PagingMultiple",
        list_items("/paging/multiple", headers={"client-request-id": "client-id"}),
        TEN,
    ),
    Scenario("PagingOdataMultiple", list_items("/paging/multiple/odata"), TEN),
    Scenario(
        "PagingMultiplePath", list_items("/paging/multiple/withpath/100"), (1, *range(102, 111))
    ),
    Scenario(
        "PagingDuplicateParameters",
        list_items("/paging/multiple/duplicateParams/1", params={"$filter": "foo"}),
        (1,),
    ),
    Scenario(
        "PagingCustomUrlPartialNextLink", list_items("/paging/customurl/partialnextlink"), (1, 2)
    ),
    Scenario("PagingMultipleLRO", run_operation_with_a_list, TEN),
    Scenario("PagingMultipleRetryFirst", list_items("/paging/multiple/retryfirst"), TEN),
    # The second page, which follows a 500, has the same item as the first.
    Scenario(
        "PagingMultipleRetrySecond",
        list_items("/paging/multiple/retrysecond"),
        (1, 1, *range(3, 11)),
    ),
    expect_failure("PagingSingleFailure", list_items("/paging/single/failure"), ArmError, 400),
    expect_failure(
        "PagingMultipleFailure", list_items("/paging/multiple/failure"), ArmError, 400, 1
    ),
    expect_failure(
        "PagingMultipleFailureUri", list_items("/paging/multiple/failureuri"), NotFoundError, 404, 1
    ),
    # Each of the following is listed below.
    Scenario(
        "PagingMultipleWithQueryParameters",
        list_items(
            "/paging/multiple/getWithQueryParams",
            params={"requiredQueryParameter": 100, "queryConstant": True},
        ),
        (1, 2),
    ),
    Scenario(
        "PagingFragment",
        list_items("/paging/multiple/fragment/test_user", params={"api_version": "1.6"}),
        TEN,
    ),
    Scenario(
        "PagingCustomUrlPartialOperationNextLink",
        list_items("/paging/customurl/partialnextlinkop"),
        (1, 2),
    ),
    Scenario("PagingWithApiVersionAppend", list_items("/paging/apiVersion/append/1"), (1,)),
    Scenario("PagingWithApiVersionReplace", list_items("/paging/apiVersion/replace/1"), (1,)),
)

SCENARIOS = OPERATIONS + FAILURES_THAT_PASS + FAILURES + LISTS

_WHOLE = "in ARM a nextLink is a whole URL, to be sent as it is"

LISTED: Mapping[str, str] = {
    "PagingMultipleWithQueryParameters": f"wants a parameter that the link does not have; {_WHOLE}",
    "PagingFragment": f"gives a part of a path, to be put into another operation's; {_WHOLE}",
    "PagingCustomUrlPartialOperationNextLink": (
        "gives a path without its root; where ARM's services do, they leave out the slash"
    ),
    "PagingWithApiVersionAppend": f"wants an api-version that the link does not have; {_WHOLE}",
    "PagingWithApiVersionReplace": f"wants another api-version than the link's; {_WHOLE}",
}
"""Scenarios that contradict ARM's contract, and why. An entry that passes fails the run."""
