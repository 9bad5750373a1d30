"""`Progress`: the state of a long-running operation, which can be saved and resumed. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self, get_args

import attrs
from multidict import CIMultiDict

from aiomsi._arm.protocol.errors.classify import make_error
from aiomsi._arm.protocol.links import get_path, resolve_link
from aiomsi._arm.protocol.response import ArmResponse
from aiomsi._clouds import Cloud
from aiomsi._errors import ArmConnectionError, ArmError, ConfigurationError, ForeignHostError

Reads = Literal["operation", "location", "resource", "result"]
OperationOutcome = Literal["succeeded", "failed", "canceled"]
FinalStateVia = Literal["azure-async-operation", "operation-location", "location", "original-uri"]

MAX_FAILED_POLLS = 20
"""The number of consecutive polls with a temporary failure that ends the polling.

At the slowest pace they take more than six minutes.
"""
MAX_REST = 1_800.0
"""Seconds of polling after which an operation with the same unknown state counts as at rest.

The state is that of the resource, or one of the operation's record that sounds final.
"""
_VERSION = 2
_READABLE_VERSIONS = (1, _VERSION)
"""Version 1 has neither `Progress.uncertain_error` nor `Progress.pending`."""
_SEEN = ("created", "changing", "answered")
_KEPT = ("x-ms-request-id", "x-ms-correlation-request-id")


def _show_path(url: str | None) -> str:
    return repr(get_path(url)) if url else "None"


@attrs.frozen
class Progress:
    """The state of a long-running operation, and the next GET.

    Attributes:
        method: the verb of the request that began the operation.
        url: the URL of the request that began the operation.
        reads: the kind of `source`: the ``operation``'s own record, a ``location``, the
            ``resource``, or the ``result`` of an operation that has succeeded already.
        source: the URL to poll, sent byte for byte; None when the operation is over.
        location: the newest ``Location`` that may be followed; None without one.
        via: the place of the result by the API's definition; None if unknown.
        status: the state in the service's own word.
        percent: the progress as the service counts it; None if the service does not send it.
        retry_after: the seconds between polls in the last `Retry-After`; None without one.
        polled: the time of the last response, in seconds since the epoch; None if unknown.
        created: whether the response to the request itself was 201.
        changing: whether any response showed the resource in a state that is not final.
        answered: whether any poll of the operation could be read.
        step: the number of responses read from the present kind of source, for the pace.
        failed_polls: the number of consecutive polls that could not be read, weighted.
        fallback: 0 if the next GET polls the source; otherwise the next GET reads the resource,
            because the source could not be read, and this is the number of such GETs.
        rested: the seconds of polling in which the state has been the same unknown word.
        outcome: the end of the operation; None until its end, and until its result is read.
        final_response: the response with the result or the reason of a failure; None without one.
        uncertain_error: the error of an earlier request of the same call that ARM may have carried
            out; None without one.
        pending: whether the operation is a change of the resource that a GET showed after
            `uncertain_error`. It may be another client's change.

    """

    method: str
    url: str = attrs.field(repr=_show_path)
    reads: Reads = "operation"
    source: str | None = attrs.field(default=None, repr=_show_path)
    location: str | None = attrs.field(default=None, repr=False)
    via: FinalStateVia | None = None
    status: str = "InProgress"
    percent: float | None = None
    retry_after: float | None = None
    polled: float | None = None
    created: bool = False
    changing: bool = False
    answered: bool = False
    step: int = 0
    failed_polls: int = 0
    fallback: int = 0
    rested: float = 0.0
    outcome: OperationOutcome | None = None
    final_response: ArmResponse | None = attrs.field(default=None, repr=False)
    uncertain_error: ArmError | ArmConnectionError | None = attrs.field(default=None, repr=False)
    pending: bool = False

    @property
    def next_url(self) -> str | None:
        """The URL of the next GET, sent byte for byte; None when the operation is over."""
        if self.outcome is not None:
            return None
        return self.url if self.fallback else self.source

    @property
    def gave_up(self) -> bool:
        """Whether polling stops because the state can't be read; the operation may continue."""
        return self.outcome is None and self.failed_polls >= MAX_FAILED_POLLS and not self.fallback

    @property
    def is_at_rest(self) -> bool:
        """Whether the operation seems to be over, although its state is unknown."""
        return self.outcome is None and self.rested >= MAX_REST

    def to_dict(self) -> dict[str, Any]:
        """Return the state as JSON values.

        Protect them like a password, because they have signed URLs, and at the end the result.
        """
        response, uncertain = self.final_response, self.uncertain_error
        return {
            "version": _VERSION,
            "method": self.method,
            "url": str(self.url),
            "reads": self.reads,
            "next_url": None
            if self.outcome is not None or self.source is None
            else str(self.source),
            "location": None if self.location is None else str(self.location),
            "final_state_via": self.via,
            "status": self.status,
            "percent": self.percent,
            "asked": self.retry_after,
            "polled": self.polled,
            **{name: getattr(self, name) for name in _SEEN},
            "outcome": self.outcome,
            "answer": None if response is None else _save_response(response),
            "uncertain": None if uncertain is None else _save_error(uncertain),
            "pending": self.pending,
        }

    @classmethod
    def from_dict(cls, cloud: Cloud, saved: Mapping[str, Any]) -> Self:
        """Create the state from the values of `to_dict`; failed polls and the pace begin anew.

        Raises:
            ForeignHostError: a URL in the values is not on the cloud's ARM.
            ConfigurationError: the values are not from `to_dict`.

        """
        try:
            return cls._read(cloud, saved)
        except ConfigurationError:
            raise
        except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
            msg = "this is not the state of an operation"
            raise ConfigurationError(msg, help="Pass the value of state() unchanged") from error

    @classmethod
    def _read(cls, cloud: Cloud, saved: Mapping[str, Any]) -> Self:
        if saved["version"] not in _READABLE_VERSIONS:
            msg = (
                f"the operation's state has version {saved['version']!r}, "
                f"and this release reads {' and '.join(map(str, _READABLE_VERSIONS))}"
            )
            raise ConfigurationError(msg)
        url = _check_url(cloud, saved["url"])
        outcome, response, uncertain = saved["outcome"], saved["answer"], saved.get("uncertain")
        next_url = None if saved["next_url"] is None else _check_url(cloud, saved["next_url"])
        if (next_url is None) is (outcome is None):
            raise KeyError
        return cls(
            _check_text(saved["method"]),
            url,
            reads=_check_choice(Reads, saved["reads"]),
            source=next_url,
            location=None if saved["location"] is None else _check_url(cloud, saved["location"]),
            via=check_via(saved["final_state_via"]),
            status=_check_text(saved["status"]),
            percent=_read_number(saved["percent"]),
            retry_after=_read_number(saved.get("asked")),
            polled=_read_number(saved.get("polled")),
            **{name: saved.get(name) is True for name in _SEEN},
            outcome=None if outcome is None else _check_choice(OperationOutcome, outcome),
            final_response=None if response is None else _read_response(cloud, response),
            uncertain_error=None if uncertain is None else _read_error(cloud, uncertain),
            pending=uncertain is not None and saved.get("pending") is True,
        )


def _save_response(response: ArmResponse) -> dict[str, Any]:
    return {
        "method": response.method,
        "url": str(response.url),
        "status": response.status,
        "headers": {name: response.headers[name] for name in _KEPT if name in response.headers},
        # Latin-1 encodes and decodes any bytes, and a body need not be UTF-8.
        "body": response.body.decode("latin-1"),
    }


def _read_response(cloud: Cloud, saved: Mapping[str, Any]) -> ArmResponse:
    # A header may be empty.
    headers = CIMultiDict(
        {
            name: "" if value == "" else _check_text(value)
            for name, value in saved["headers"].items()
        }
    )
    method = _check_text(saved.get("method", "GET"))
    return ArmResponse(
        method,
        _check_url(cloud, saved["url"]),
        int(saved["status"]),
        headers,
        saved["body"].encode("latin-1"),
    )


def _save_error(error: ArmError | ArmConnectionError) -> dict[str, Any]:
    saved = {
        "summary": error.args[0],
        "help": error.help,
        "client_request_id": error.client_request_id,
        "attempts": error.attempts,
        "elapsed": error.elapsed,
    }
    if isinstance(error, ArmError):
        return {**saved, "response": _save_response(error.response)}
    return {**saved, "method": error.method, "url": str(error.url)}


def _read_error(cloud: Cloud, saved: Mapping[str, Any]) -> ArmError | ArmConnectionError:
    request = {
        "client_request_id": saved["client_request_id"],
        "attempts": int(saved["attempts"]),
        "elapsed": float(saved["elapsed"]),
    }
    error: ArmError | ArmConnectionError
    if "response" in saved:
        error = make_error(_read_response(cloud, saved["response"]), wall=0.0, **request)
    else:
        url = _check_url(cloud, saved["url"])
        error = ArmConnectionError(
            _check_text(saved["summary"]), method=_check_text(saved["method"]), url=url, **request
        )
    error.help, error.uncertain = str(saved["help"]), True
    return error


def _check_url(cloud: Cloud, value: object) -> str:
    url = _check_text(value)
    try:
        return resolve_link(cloud, url, url)
    except ForeignHostError as error:
        # The state is an argument of the caller.
        error.from_response = False
        raise


def _read_number(value: Any) -> float | None:
    return None if value is None else float(value)


def _check_text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError
    return value


def _check_choice(kind: Any, value: object) -> Any:
    if value not in get_args(kind):
        raise KeyError
    return value


def check_via(via: object) -> FinalStateVia | None:
    """Return a ``final-state-via`` that Azure's API definitions have, or None.

    Source:
    https://github.com/Azure/autorest/blob/main/docs/extensions/readme.md#x-ms-long-running-operation-options

    Raises:
        ConfigurationError: `via` is another value.

    """
    if via is None or via in get_args(FinalStateVia):
        return via  # type: ignore[return-value]
    allowed = ", ".join(map(repr, get_args(FinalStateVia)))
    msg = f"final_state_via is {via!r} and must be one of {allowed}, or None"
    raise ConfigurationError(msg)
