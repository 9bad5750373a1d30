"""`Reader`: values made of the bytes that a fuzzer chooses.

The same bytes give the same values, in every engine, so a crasher is kept as its bytes. Half of the
texts come from the vocabulary of Azure's responses: random text alone rarely reaches a parser.
"""

import json
from collections.abc import Sequence
from typing import Any, TypeVar

T = TypeVar("T")

NAMES = (
    *("access_token", "expires_in", "expires_on", "not_before", "token_type", "resource"),
    *("client_id", "refresh_in", "error", "error_description", "error_codes", "correlation_id"),
    *("code", "Code", "message", "Message", "target", "details", "innererror", "innerError"),
    *("additionalInfo", "type", "info", "statusCode", "odata.error", "value", "nextLink"),
    *("@odata.nextLink", "next_link", "status", "Status", "provisioningState", "properties"),
    *("id", "name", "location", "tags", "output", "percentComplete", "startTime", "endTime"),
    *("data", "rows", "columns", "totalRecords", "count", "$skipToken", "resultTruncated"),
    *("resourceType", "apiVersions", "resourceTypes", "namespace", "locations", "kind", "sku"),
    *("version", "method", "url", "reads", "next_url", "final_state_via", "percent", "asked"),
    *("polled", "outcome", "answer", "uncertain", "pending", "failed_polls", "headers", "body"),
    *("state", "subscriptionId", "displayName", "tenantId", "managedByTenants", "quotaId"),
    *("subscriptionPolicies", "createdTime", "changedTime", "systemData", "identity", "zones"),
)
WORDS = (
    *("", " ", "Bearer", "bearer", "pop", "Succeeded", "Failed", "Canceled", "InProgress"),
    *("Running", "Accepted", "Updating", "Deleting", "Deleted", "true", "false", "null", "NaN"),
    *("3599", "0", "-1", "1e400", "9" * 40, "12:34:56", "1.00:00:01", "PT5S", "P1DT2H"),
    *("2026-01-01T00:00:00Z", "2026-01-01T00:00:00.1234567+14:00", "0001-01-01T00:00:00"),
    *("Thu, 01 Jan 2026 00:00:00 GMT", "1/1/2026 12:00:00 AM +00:00", "31/31/9999"),
    *("AuthorizationFailed", "SubscriptionNotFound", "TooManyRequests", "Conflict"),
    *("MissingSubscriptionRegistration", "InvalidAuthenticationToken", "ResourceNotFound"),
    *("NoRegisteredProviderFound", "InvalidApiVersionParameter", "AnotherOperationInProgress"),
    *("invalid_request", "invalid_scope", "unauthorized_client", "Identity not found"),
    "The supported api-versions are '2016-06-01, 2020-01-01'. The supported locations are 'a, b'.",
    "Please try again after '00:00:07'.",
    *("https://management.azure.com/a?api-version=1&$skiptoken=x", "//evil.example/a", "/a/../b"),
    *("https://management.azure.com.evil.example/", "https://management.azure.com@evil.example/"),
    *("https://management.azure.com:443/x", "HTTPS://MANAGEMENT.AZURE.COM./x", "file:///etc", "?"),
    *("/subscriptions/98f51385-2edc-4b79-bed9-7718de4cb861/resourceGroups/g", "/", "#", "\\"),
    "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/n/subnets/s",
    *('claims="eyJhIjoxfQ=="', 'Bearer error="invalid_token"', "claims=%7B%22a%22%3A1%7D"),
    "Microsoft.Compute/GetVM3Min;107,Microsoft.Compute/GetVM30Min;537",
    *("Microsoft.Storage/", "limit=250;w=1", "remaining=0;reset=5", "0.5", "1e308", "inf"),
    *(
        "<html><title>Bad</title>",
        "\ud800",
        "\u2028",
        "\x00",
        "\r\nX: y",
        "é",
        "\U0001d4b3",
        "%",
        "%2f",
    ),
)
TEMPLATES: tuple[dict[str, Any], ...] = (
    {"access_token": "header.claims.signature", "expires_in": "3599", "token_type": "Bearer"},
    {"access_token": "a.b.c", "expires_on": "1767229200", "resource": "r", "client_id": "c"},
    {"error": {"code": "AuthorizationFailed", "message": "No", "details": [{"code": "A"}]}},
    {"error": "invalid_request", "error_description": "Identity not found"},
    {"value": [{"id": "/subscriptions/s", "name": "n"}], "nextLink": "/subscriptions?a=1"},
    {"data": [{"id": "a"}], "totalRecords": 1, "count": 1, "resultTruncated": "false"},
    {"status": "Running", "percentComplete": 50, "properties": {"output": {"a": 1}}},
    {"id": "/subscriptions/s", "properties": {"provisioningState": "Updating"}},
    {"namespace": "Microsoft.Network", "resourceTypes": [{"resourceType": "virtualNetworks"}]},
    {"subscriptionId": "s", "displayName": "n", "managedByTenants": [{"tenantId": "t"}]},
)
_LONGEST = 40


class Reader:
    """Values made of some bytes; without bytes left, the shortest ones.

    Attributes:
        left: the number of bytes that are left.

    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def byte(self) -> int:
        if self._at >= len(self._data):
            return 0
        self._at += 1
        return self._data[self._at - 1]

    def raw(self, most: int = _LONGEST) -> bytes:
        size = min(self.byte() % (most + 1), self.left)
        self._at += size
        return self._data[self._at - size : self._at]

    def rest(self) -> bytes:
        start, self._at = self._at, len(self._data)
        return self._data[start:]

    def choose(self, values: Sequence[T]) -> T:
        number = self.byte() if len(values) <= 256 else self.byte() << 8 | self.byte()
        return values[number % len(values)]

    def text(self) -> str:
        """Return a word, some characters, or words joined."""
        kind = self.byte() % 8
        if kind < 4:
            return self.choose(WORDS)
        if kind < 6:
            return self.raw().decode("utf-8", "surrogateescape")
        if kind == 6:
            return "".join(self.choose(WORDS) for _ in range(self.byte() % 4))
        return self.raw().decode("latin-1")

    def number(self) -> float | int:
        numbers = (0, 1, -1, 0.5, 3_600, 2**63, 10**40, 1e308, -1e308, 1_767_225_600, 9_999_999_999)
        return self.choose(numbers) if self.byte() % 2 else self.byte() - 128

    def value(self, depth: int = 5) -> Any:
        """Return a JSON value."""
        kind = self.byte() % (10 if depth else 6)
        if kind < 3:
            return self.text()
        if kind < 5:
            return self.number()
        if kind == 5:
            return self.choose((None, True, False))
        if kind < 8:
            return self.object(depth - 1)
        return [self.value(depth - 1) for _ in range(self.byte() % 4)]

    def object(self, depth: int = 4) -> dict[str, Any]:
        """Return an object: a template with some members changed, or members by chance."""
        if self.byte() % 2:
            made = dict(self.choose(TEMPLATES))
            for _ in range(self.byte() % 3):
                made[self.choose((*made,)) if self.byte() % 2 else self._name()] = self.value(depth)
            return made
        size = self.byte() % 6
        return {self._name(): self.value(depth) for _ in range(size)}

    def _name(self) -> str:
        return self.choose(NAMES) if self.byte() % 8 else self.text()

    def body(self) -> bytes:
        """Return the body of a response: mostly JSON, whole or cut or changed."""
        kind = self.byte() % 8
        if kind == 0:
            return self.rest()
        data = json.dumps(self.object() if kind < 6 else self.value()).encode()
        if kind == 5:
            return data[: len(data) * self.byte() // 255]
        if kind == 6:
            return b"\xef\xbb\xbf" + data
        return data

    def headers(self, names: Sequence[str]) -> dict[str, str]:
        return {self.choose(names): self.text() for _ in range(self.byte() % 5)}
