"""Texts of errors and of the log that name the Python interface, in the command line's words."""

from __future__ import annotations

import re

_PHRASES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\bapi_version='(\S+?)'", r"--api-version \1"),
        (r"\bapi_version\b=?", "--api-version"),
        (r"; a larger (?:ArmRetry|timeout=).* lets the call wait for that", ""),
        (r"\bpass the ArmSession a Cloud with the right one", "choose the cloud with --cloud"),
        (r"\bpass ssl= with its authority", "name its authority in SSL_CERT_FILE"),
        (r"\bpass item_name=.*", "use 'aiomsi get'"),
        (r"\. request\(\) sends such a call.*", ""),
        (r"\. ArmSession\(rate=\.\.\.\) sends fewer; stats\(\) shows the limits", ""),
        (r"\btimeout=(?=[ ,.]|$)", "--timeout"),
        (r"\bPass ArmSession\(credential=.*", "Use --client-id, --object-id or --resource-id"),
        (r"\bwait for it again, or save .*? resume it later", "read the resource to see its end"),
        (r"\bhost='([a-z-]+)'", r"--host \1"),
        (r"\bhost=", "--host"),
        (r"\b([Uu]se) request\(\)", r"\1 'aiomsi request GET PATH'"),
        (r"\b([Uu]se) get\(\)", r"\1 'aiomsi get'"),
        (r"\bproperties=True", "--properties"),
        (r"\b(kinds|where|exclude|states|excel)=(?=[ ,.]|$)", r"--\1"),
        (r"\b(type|location|subscription)s=(?=[ ,.]|$)", r"--\1"),
        (r"\bresource_groups=(?=[ ,.]|$)", "--resource-group"),
        (r"\btables=(?=[ ,.]|$)", "--graph-table"),
        (r"\bstorage_options=", "--storage-option"),
    )
)


def translate(text: str) -> str:
    """Replace phrases that name the Python interface."""
    for pattern, replacement in _PHRASES:
        text = pattern.sub(replacement, text)
    return text
