"""Locations of redirects from ``https://vault.example`` to another host, by their trick.

`port` is that of the host, `other` another one with TLS, and `plain` one without TLS.
"""

FOREIGN = {
    "another host": "https://other.example:{port}/x",
    "another port": "https://vault.example:{other}/x",
    "another scheme": "http://vault.example:{plain}/x",
    "a sub-domain": "https://a.vault.example:{port}/x",
    "the parent domain": "https://example:{port}/x",
    "its name as a sub-domain": "https://vault.example.evil.test:{port}/x",
    "its name as an end": "https://evilvault.example:{port}/x",
    "its name as the user": "https://vault.example@other.example:{port}/x",
    "its name as the fragment": "https://other.example:{port}/x#@vault.example:{port}/x",
    "a letter of another alphabet": "https://v\u0430ult.example:{port}/x",
    "an encoded name": "https://xn--vult-7cd.example:{port}/x",
    "a trailing dot": "https://vault.example.:{port}/x",
    "no scheme": "//other.example:{port}/x",
    "its address": "https://127.0.0.1:{port}/x",
    "localhost": "https://localhost:{port}/x",
}
