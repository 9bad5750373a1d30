"""What the origin and the clients agree on."""

SCOPE = "https://management.azure.com/.default"
RESOURCE = "https://management.azure.com/"
IMDS_PATH = "/metadata/identity/oauth2/token"
IMDS_API_VERSION = "2018-02-01"
API_VERSION = "2025-04-01"
SUBSCRIPTION = "00000000-0000-4000-8000-00000000beef"

TOKEN = "opaque-" + "0123456789abcdef" * 100
"""How every token begins: as long as a real one, which every request carries; no JWT, so nobody can look inside."""


def group_path(name: str) -> str:
    """Give the path of a resource group: what every ARM call of the benchmark asks for."""
    return f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{name}"
