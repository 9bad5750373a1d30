"""What the embedded Azure has been asked: counts and recorded requests."""

import threading
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from typing import Literal

import attrs
from multidict import CIMultiDict, CIMultiDictProxy

Service = Literal["imds", "arm"]
SERVICES: tuple[Service, ...] = ("imds", "arm")
RECORDED = 20_000
"""So many requests are kept, the latest."""


def check_service(service: str) -> Service:
    """Return the service's name.

    Raises:
        ValueError: there is no such service.

    """
    for known in SERVICES:
        if service == known:
            return known
    msg = f"There is no service {service!r}; the embedded Azure has {' and '.join(map(repr, SERVICES))}"
    raise ValueError(msg)


@attrs.frozen
class Counts:
    """How often something has happened since the start, or since `reset_counts`.

    Attributes:
        imds_requests: requests to IMDS, faulted and refused ones included.
        imds_tokens: tokens that IMDS has handed out.
        imds_throttled: token requests that IMDS answered 429 for its limits.
        imds_most_at_once: most requests to IMDS that were under way at the same time.
        arm_requests: requests to ARM, faulted and refused ones included.
        arm_unauthorized: requests that ARM answered 401.
        arm_forbidden: requests that ARM answered 403.
        arm_throttled: requests that ARM answered 429 for its limits.
        arm_most_at_once: most requests to ARM that were under way at the same time.
        faults: faults that were delivered.

    """

    imds_requests: int = 0
    imds_tokens: int = 0
    imds_throttled: int = 0
    imds_most_at_once: int = 0
    arm_requests: int = 0
    arm_unauthorized: int = 0
    arm_forbidden: int = 0
    arm_throttled: int = 0
    arm_most_at_once: int = 0
    faults: int = 0


@attrs.frozen
class RecordedRequest:
    """A request as it was received.

    Attributes:
        service: ``"imds"`` or ``"arm"``.
        method: in upper case.
        path_qs: path and query, byte for byte.
        headers: names ignore case; the value of `Authorization` is masked.

    """

    service: Service
    method: str
    path_qs: str
    headers: Mapping[str, str]


class Ledger:
    """Counts and requests, written by the server's thread and read by others."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._under_way: Counter[Service] = Counter()
        self._requests: deque[RecordedRequest] = deque(maxlen=RECORDED)

    def arrived(
        self, service: Service, method: str, path_qs: str, headers: Iterable[tuple[str, str]]
    ) -> None:
        """Count and record a request that has been received."""
        kept = CIMultiDict(headers)
        if "Authorization" in kept:
            scheme = kept["Authorization"].partition(" ")[0]
            kept["Authorization"] = f"{scheme} ***"
        request = RecordedRequest(service, method, path_qs, CIMultiDictProxy(kept))
        with self._lock:
            self._counts[f"{service}_requests"] += 1
            self._under_way[service] += 1
            most = f"{service}_most_at_once"
            self._counts[most] = max(self._counts[most], self._under_way[service])
            self._requests.append(request)

    def left(self, service: Service) -> None:
        """Note that a request is no longer under way."""
        with self._lock:
            self._under_way[service] -= 1

    def count(self, name: str) -> None:
        """Count one more of something; names are those of `Counts`."""
        with self._lock:
            self._counts[name] += 1

    @property
    def counts(self) -> Counts:
        """A snapshot."""
        with self._lock:
            return Counts(**self._counts)

    @property
    def requests(self) -> tuple[RecordedRequest, ...]:
        """A snapshot, oldest first."""
        with self._lock:
            return tuple(self._requests)

    def reset(self) -> None:
        """Start anew; requests that are under way stay so."""
        with self._lock:
            self._counts.clear()
            self._requests.clear()
            for service, number in self._under_way.items():
                self._counts[f"{service}_most_at_once"] = number
