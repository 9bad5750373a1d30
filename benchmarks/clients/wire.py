"""What the origin and the clients agree on, and how the origin's counts are read."""

import http.client
import json
from urllib.parse import urlsplit

SCOPE = "https://management.azure.com/.default"
RESOURCE = "https://management.azure.com/"
IMDS_PATH = "/metadata/identity/oauth2/token"
IMDS_API_VERSION = "2018-02-01"
API_VERSION = "2025-04-01"
SUBSCRIPTION = "00000000-0000-4000-8000-00000000beef"
COUNTS_PATH = "/control/counts"

TOKEN = "opaque-" + "0123456789abcdef" * 100
"""As long as a real one, which every request carries; not a JWT, so nobody can look inside."""


def group_path(name: str) -> str:
    """Give the path of a resource group: what every ARM call of the benchmark asks for."""
    return f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{name}"


def read_counts(origin: str) -> dict[str, float]:
    """Read what the origin has counted so far."""
    parts = urlsplit(origin)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    try:
        connection.request("GET", COUNTS_PATH)
        counts: dict[str, float] = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    return counts
