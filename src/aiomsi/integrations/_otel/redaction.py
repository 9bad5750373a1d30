"""URLs without secrets, and the namespace of a path."""

from __future__ import annotations

import re

REDACTED = "REDACTED"
ALLOWED = frozenset({"api-version", "$top", "$expand", "$select", "$orderby", "resource"})
"""Query parameters whose values are recorded. Links of ARM have signatures, certificates and
`$skiptoken` under many names, so that only a list of allowed names is safe."""
_VALUE = re.compile(r"(?:[\w.,:/$ +*()'-]|%(?:2[04CF]|3A))*", re.IGNORECASE)
"""Values that hold no further parameter, as those of a query within a query would."""
_MOST_NAME = 40
_USER = re.compile(r"(?<=://)[^/]*@")
_JWT = re.compile(r"eyJ[\w.-]{8,}")
_NAMESPACE = re.compile(r"/providers/([\w.-]+)", re.IGNORECASE)


def redact_url(url: str) -> str:
    """Return a URL with the names of all query parameters, and the values of harmless ones."""
    base, _, query = url.partition("#")[0].partition("?")
    if "@" in base:
        base = _USER.sub(f"{REDACTED}@", base)
    if "eyJ" in base:
        base = _JWT.sub(REDACTED, base)
    if not query:
        return base
    return f"{base}?{'&'.join(_redact(part) for part in query.split('&'))}"


def _redact(part: str) -> str:
    """Return a query parameter with its value masked; a value without a name is masked whole."""
    name, _, value = part.partition("=")
    if name.lower().replace("%24", "$") in ALLOWED and _VALUE.fullmatch(value):
        return part
    # The end of a value in base64 is one "=" or two.
    has_name = value.strip("=") and len(name) <= _MOST_NAME
    return f"{name}={REDACTED}" if has_name else REDACTED


def find_namespace(path: object) -> str:
    """Return the resource provider that a path names last; ARM's own without one."""
    found = _NAMESPACE.findall(path.partition("?")[0]) if isinstance(path, str) else []
    return found[-1] if found else "Microsoft.Resources"
