"""`HostPins`, as values: entries of `hosts=`, and the spellings of other hosts."""

from __future__ import annotations

from typing import Any

import pytest
from yarl import URL

from aiomsi import ConfigurationError
from aiomsi.integrations._auth.host_pins import parse_hosts

PINS = parse_hosts(
    ["vault.azure.net", "HTTPS://Search.Example:8443/", "http://127.0.0.1:8080", "https://[::1]"]
)


def check_url(url: str, *, encoded: bool = False) -> bool:
    parsed = URL(url, encoded=encoded)
    return PINS.allows(parsed.scheme, parsed.raw_host, parsed.port)


@pytest.mark.parametrize(
    "url",
    [
        "https://vault.azure.net/secrets",
        "https://vault.azure.net:443/",
        "https://VAULT.Azure.NET/",
        "https://user:password@vault.azure.net/",
        "wss://vault.azure.net/socket",
        "https://vault。azure.net/",
        "https://search.example:8443/",
        "http://127.0.0.1:8080/",
        "ws://127.0.0.1:8080/",
        "https://[::1]/",
        "https://[0:0:0:0:0:0:0:1]:443/",
    ],
)
def test_pinned_host_is_allowed_in_its_spellings(url: str) -> None:
    assert check_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://other.azure.net/",  # another host
        "https://azure.net/",  # its domain
        "https://a.vault.azure.net/",  # a sub-domain
        "https://vault.azure.net.evil.example/",  # its name, as a sub-domain
        "https://evilvault.azure.net/",  # its name, as an end
        "https://vault-azure.net/",
        "https://vault.azure.net./",  # the dot at the end
        "https://vault.azure.net:8443/",  # another port
        "https://vault.azure.net:80/",
        "https://search.example/",  # without its port
        "http://vault.azure.net/",  # another scheme
        "http://vault.azure.net:443/",
        "ws://vault.azure.net:443/",
        "ftp://vault.azure.net/",
        "https://vault.azure.net@evil.example/",  # the user
        "https://vault.azure.net:443@evil.example/",
        "https://evil.example/https://vault.azure.net/",
        "https://evil.example?vault.azure.net",
        "https://evil.example#@vault.azure.net",
        "https://vаult.azure.net/",  # noqa: RUF001 (a Cyrillic letter)
        "https://xn--vult-7cd.azure.net/",  # and its encoding
        "https://127.0.0.1:8080/",
        "http://127.0.0.2:8080/",
        "http://127.1:8080/",  # other spellings of its address
        "http://2130706433:8080/",
        "http://0x7f.0.0.1:8080/",
        "http://0177.0.0.1:8080/",
        "http://localhost:8080/",
        "http://[::ffff:127.0.0.1]:8080/",
        "http://[::1]/",
        "https://[::2]/",
    ],
)
def test_other_host_is_not_allowed(url: str) -> None:
    assert not check_url(url)


@pytest.mark.parametrize(
    "name",
    [
        "vault。azure.net",
        "\N{FULLWIDTH LATIN SMALL LETTER V}ault.azure.net",
        "vault.azure.net\N{ZERO WIDTH SPACE}",
    ],
)
def test_host_that_the_client_did_not_encode_is_not_allowed(name: str) -> None:
    assert not check_url(f"https://{name}/", encoded=True)


def test_letter_whose_lower_case_is_ascii_is_another_host() -> None:
    kelvin = "kusto.example".replace("k", "\N{KELVIN SIGN}")
    assert kelvin.lower() == "kusto.example"
    pins = parse_hosts(["kusto.example"])
    assert pins.allows("https", "kusto.example", None)
    assert not pins.allows("https", kelvin, None)


def test_url_without_a_host_is_not_allowed() -> None:
    assert not PINS.allows("https", None, None)


def test_repr_lists_the_origins() -> None:
    assert repr(PINS) == (
        "http://127.0.0.1:8080, https://[::1]:443, https://search.example:8443, "
        "https://vault.azure.net:443"
    )


@pytest.mark.parametrize(
    ("hosts", "words"),
    [
        ([], "names no host"),
        ("vault.azure.net", "a list of hosts, not str"),
        (None, "a list of hosts, not NoneType"),
        ([None], "a string, not NoneType"),
        ([b"vault.azure.net"], "a string, not bytes"),
        ([""], "must look like"),
        (["https://"], "must look like"),
        (["http://vault.azure.net"], "must be https"),
        (["ftp://vault.azure.net"], "must be https"),
        (["https://vault.azure.net/secrets"], "must look like"),
        (["vault.azure.net?x"], "must look like"),
        (["user:password@vault.azure.net"], "must look like"),
        (["vault.azure.net:0"], "must look like"),
        (["vault.azure.net:99999"], "must look like"),
        (["vault.azure.net:x"], "must look like"),
        (["vault azure.net"], "must look like"),
        (["bücher.example"], "must look like"),
        (["::1"], "must look like"),
        (["*.vault.azure.net"], "List each host"),
        (["vault.azure.net."], "without the dot"),
        (["https://127.1"], "must look like"),
        (["a.0x7f"], "four decimal numbers"),
        (["a.b.7"], "four decimal numbers"),
        (["vault,azure.net"], "names no single host"),
        (["-vault.azure.net"], "names no single host"),
    ],
)
def test_malformed_hosts_are_refused(hosts: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        parse_hosts(hosts)
    assert "password" not in str(caught.value)


def test_one_malformed_entry_refuses_the_list() -> None:
    with pytest.raises(ConfigurationError):
        parse_hosts(["vault.azure.net", "*"])
