"""JSON as ARM reads it in deployments: with comments, and with member names without quotes.

az sends a template file as it is, under the bare name ``template``.

Source: https://learn.microsoft.com/azure/azure-resource-manager/templates/syntax#comments-and-metadata
"""

from __future__ import annotations

import json
import re

_PART = re.compile(
    r'(?P<text>"(?:[^"\\]|\\.)*")|(?P<comment>//[^\n]*|/\*.*?\*/)|(?P<name>[A-Za-z_$][\w$]*)(?=\s*:)',
    re.DOTALL,
)


def _repair(part: re.Match[str]) -> str:
    if part["comment"] is not None:
        return " "
    if part["name"] is not None:
        return json.dumps(part["name"])
    # A text may go over several lines.
    return part["text"].replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")


def make_strict(body: bytes) -> bytes:
    """Return the same value as strict JSON; a body that is not text is returned unchanged."""
    try:
        return _PART.sub(_repair, body.decode()).encode()
    except UnicodeDecodeError:
        return body
