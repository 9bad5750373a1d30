"""URLs, versions and tokens that the origin and the clients share."""

SCOPE = "https://management.azure.com/.default"
RESOURCE = "https://management.azure.com/"
IMDS_PATH = "/metadata/identity/oauth2/token"
IMDS_API_VERSION = "2018-02-01"
API_VERSION = "2025-04-01"
SUBSCRIPTION = "00000000-0000-4000-8000-00000000beef"

TOKEN = "opaque-" + "0123456789abcdef" * 100
"""The prefix of every token: as long as a real token, but no JWT, so that no client parses it."""


def group_path(name: str) -> str:
    """Return the path of a resource group; every ARM call of the benchmark GETs one."""
    return f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{name}"
