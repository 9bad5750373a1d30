"""Write docs/errors.md from the classes of errors, their docstrings and the advice of the code.

Usage: `python docs/errors_page.py --write`. A test compares the page with the classes.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from multidict import CIMultiDict

import aiomsi
from aiomsi import _errors, inventory, testing
from aiomsi._arm.protocol.errors.classify import make_error
from aiomsi._arm.protocol.response import ArmResponse
from aiomsi._hosts.base import TokenError, TokenHttpResponse
from aiomsi._hosts.imds import Imds
from aiomsi._tokens.token import Now
from aiomsi._util.secret import SecretBytes

PAGE = Path(__file__).parent / "errors.md"
GROUP = "/subscriptions/ID/resourceGroups/GROUP"

INTRODUCTION = """\
# Errors and what to do

Every error is an `aiomsi.AiomsiError`, and its class groups it by the action that it calls for.
`help` has the next step, with the ids and names of the case, and is a part of the error's text. No
error holds a token or another secret.

```python
import aiomsi


async def read_or_explain(arm: aiomsi.ArmSession, path: str) -> dict | None:
    try:
        return await arm.get(path, api_version="2021-04-01")
    except aiomsi.NotFoundError:
        return None
    except aiomsi.ThrottledError as error:
        print("later:", error.retry_after)
    except aiomsi.AuthorizationError as error:
        print(error.help)  # the role that is missing, the identity and the scope
    except aiomsi.CredentialError as error:
        print(error.host, error.status, error.help)
    return None
```

## The tree

To the right of each class is its remedy, or its cause where that names the remedy:

```text
"""

ARM = """\
## Advice

The `help` of an `ArmError` by its status and code; values in capitals are those of the response.

"""

DENIED = (
    "The client 'CLIENT' with object id 'OBJECT' does not have authorization to perform action "
    "'Microsoft.Compute/virtualMachines/read' over scope 'SCOPE' or the scope is invalid."
)

WORDS = {
    "InvalidAuthenticationTokenTenant": (
        "The access token is from the wrong issuer. It must match the tenant "
        "'https://sts.windows.net/TENANT/' associated with this subscription."
    ),
    "AuthorizationFailed": DENIED,
    "MissingSubscriptionRegistration": (
        "The subscription is not registered to use namespace 'Microsoft.Example'."
    ),
}
CASES = [
    ("GET", 400, "InvalidApiVersionParameter"),
    ("GET", 401, "InvalidAuthenticationToken"),
    ("GET", 401, "InvalidAuthenticationTokenAudience"),
    ("GET", 401, "InvalidAuthenticationTokenTenant"),
    ("GET", 403, "AuthorizationFailed"),
    ("GET", 404, "SubscriptionNotFound"),
    ("GET", 404, "ResourceGroupNotFound"),
    ("PUT", 409, "MissingSubscriptionRegistration"),
    ("PUT", 409, "AnotherOperationInProgress"),
    ("PUT", 412, "PreconditionFailed"),
    ("PUT", 503, "ServiceUnavailable"),
]
"""Method, status and code of the responses whose advice the page shows."""

TOKENS = """
The `help` of a `CredentialError` on a VM, by IMDS's status and error:

"""
REFUSALS = [
    (400, "invalid_request", "Identity not found"),
    (400, "invalid_request", "Multiple user assigned identities exist, please specify one"),
]


def make_page() -> str:
    """Return the text of the page."""
    tree = inspect.getdoc(_errors) or ""
    _, _, drawn = tree.partition("::\n\n")
    parts = [INTRODUCTION, inspect.cleandoc(drawn), "\n```\n\n", ARM, *make_advice(), "\n"]
    for title, classes in list_sections():
        parts.append(f"## {title}\n\n")
        parts += [make_entry(each) for each in classes]
    return "".join(parts).rstrip() + "\n"


def make_advice() -> Iterator[str]:
    """Yield the lines of the lists of advice."""
    for method, status, code in CASES:
        body = json.dumps({"error": {"code": code, "message": WORDS.get(code, code)}}).encode()
        url = f"https://management.azure.com{GROUP}"
        headers = CIMultiDict({"Content-Type": "application/json"})
        error = make_error(ArmResponse(method, url, status, headers, body), wall=0.0)
        yield f"- {status} `{code}`, `{type(error).__name__}`: {error.help}.\n"
    yield TOKENS
    for status, code, text in REFUSALS:
        body = json.dumps({"error": code, "error_description": text}).encode()
        response = TokenHttpResponse(status, {}, SecretBytes(body), Now(0.0, 0.0), 0.0)
        refusal = Imds("http://169.254.169.254").parse(response)
        advice = refusal.help if isinstance(refusal, TokenError) else ""
        yield f'- {status} "{text}", `TokenRefusedError`: {advice}.\n'


def list_sections() -> Iterator[tuple[str, list[type[Exception]]]]:
    """Yield the headings of the page with their classes."""
    core = list_classes(aiomsi)
    yield "Tokens, arguments and connections", [e for e in core if not is_arm(e)]
    yield "Responses of ARM", [e for e in core if is_arm(e)]
    yield "Inventories", list_classes(inventory)
    yield "The embedded Azure", list_classes(testing)


def is_arm(error: type[Exception]) -> bool:
    """Return whether the error stands for a response of ARM."""
    return issubclass(error, aiomsi.ArmError)


def list_classes(package: object) -> list[type[Exception]]:
    """Return the errors among a package's public names, in the order of their definition."""
    names = getattr(package, "__all__", [])
    found = [value for name in names if is_error(value := getattr(package, name))]
    order = list(vars(_errors))
    return sorted(found, key=lambda e: order.index(e.__name__) if e.__name__ in order else 0)


def is_error(value: object) -> bool:
    """Return whether a public name is a class of errors."""
    return isinstance(value, type) and issubclass(value, Exception)


def make_entry(error: type[Exception]) -> str:
    """Return the part of the page about one class."""
    text = inspect.getdoc(error) or ""
    prose, _, attributes = text.partition("\nAttributes:\n")
    bases = " and ".join(f"`{each.__name__}`" for each in error.__bases__)
    lines = [f"### `{error.__name__}`\n", f"Subclass of {bases}. {to_markdown(prose.strip())}\n"]
    lines += [
        f"- `{name}`: {to_markdown(' '.join(about.split()))}"
        for name, about in re.findall(
            r"^    (\w+): (.*?)(?=^    \w+: |\Z)", attributes, re.MULTILINE | re.DOTALL
        )
    ]
    return "\n".join(lines).rstrip() + "\n\n"


def to_markdown(text: str) -> str:
    """Return a docstring's text with literals as in Markdown, and paragraphs as single lines."""
    paragraphs = (" ".join(each.split()) for each in text.split("\n\n"))
    return "\n\n".join(paragraphs).replace("``", "`")


if __name__ == "__main__":
    if "--write" in sys.argv:
        PAGE.write_text(make_page(), encoding="utf-8", newline="\n")
    else:
        sys.stdout.buffer.write(make_page().encode())
