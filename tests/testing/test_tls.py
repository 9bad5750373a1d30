"""Certificates of the embedded Azure: new ones, given ones, and the files with them."""

import gc
import ssl
import sys
from http.client import HTTPSConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trustme
from testing.embedded_client import SUBSCRIPTION

from aiomsi.testing import EmbeddedAzure
from aiomsi.testing._server.tls import SelfSigned


def read(azure: EmbeddedAzure, context: ssl.SSLContext, audience: str | None = None) -> int:
    token = azure.imds.issue_token(audience or azure.arm.url)
    connection = HTTPSConnection(urlsplit(azure.arm.url).netloc, timeout=30, context=context)
    path = f"/subscriptions/{SUBSCRIPTION}?api-version=2021-04-01"
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
        return connection.getresponse().status
    finally:
        connection.close()


def trust(pem: bytes) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=pem.decode())
    return context


@pytest.fixture
def authority(tmp_path: Path) -> trustme.CA:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    authority.private_key_pem.write_to_path(str(tmp_path / "ca.key"))
    return authority


def test_given_authority_signs_the_certificate(authority: trustme.CA, tmp_path: Path) -> None:
    files = tmp_path / "ca.pem", tmp_path / "ca.key"
    with EmbeddedAzure(authority=files, tls=["arm.test"]) as azure:
        assert azure.ca_pem == authority.cert_pem.bytes()
        assert read(azure, trust(authority.cert_pem.bytes())) == 200


def test_given_certificate_is_shown(authority: trustme.CA, tmp_path: Path) -> None:
    server = authority.issue_cert("127.0.0.1")
    chain = tmp_path / "chain.pem"
    chain.write_bytes(server.cert_chain_pems[0].bytes() + authority.cert_pem.bytes())
    server.private_key_pem.write_to_path(str(tmp_path / "server.key"))
    with EmbeddedAzure(certificate=(chain, tmp_path / "server.key")) as azure:
        assert azure.ca_pem.split() == authority.cert_pem.bytes().split()
        assert read(azure, azure.ssl_context()) == 200


def test_files_are_removed_at_the_stop(tmp_path: Path) -> None:
    with EmbeddedAzure(tls=True, kinds=["workload-identity"]) as azure:
        files = azure.ca_file, azure.hosts.workload_identity.token_file
        assert files[0].read_bytes() == azure.ca_pem
        assert all(file.exists() for file in files)
    assert not any(file.exists() for file in files)
    with pytest.raises(RuntimeError, match="isn't running"):
        azure.ca_file  # noqa: B018


def test_stop_closes_connections_that_clients_keep_open(monkeypatch: pytest.MonkeyPatch) -> None:
    ignored = list[str]()
    gc.collect()
    monkeypatch.setattr(sys, "unraisablehook", lambda each: ignored.append(str(each.exc_value)))
    with EmbeddedAzure(tls=True) as azure:
        connection = HTTPSConnection(urlsplit(azure.arm.url).netloc, context=azure.ssl_context())
        connection.connect()
    # The client has not closed its side, and the event loop of the servers has ended.
    gc.collect()
    connection.close()
    assert ignored == []


@pytest.mark.parametrize("kinds", [[], ["workload-identity"]])
def test_plain_arm_has_no_arguments_for_clients(kinds: list[str]) -> None:
    with EmbeddedAzure(kinds=kinds) as azure:
        for name in ("ca_pem", "ca_file", "client_arguments", "trust"):
            with pytest.raises(RuntimeError, match="create it with tls=True"):
                getattr(azure, name)


def test_files_that_are_no_certificates_are_refused(authority: trustme.CA, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    with pytest.raises(ValueError, match="has no certificate in PEM"):
        EmbeddedAzure(certificate=(empty, empty))
    with pytest.raises(ValueError, match="are not a certificate and its key"):
        EmbeddedAzure(certificate=(tmp_path / "ca.pem", empty))
    with pytest.raises(ValueError, match="are not an authority's certificate and its key"):
        EmbeddedAzure(authority=(tmp_path / "ca.pem", empty))
    with pytest.raises(ValueError, match="exclude each other"):
        EmbeddedAzure(certificate=(empty, empty), authority=(empty, empty))


def test_failed_start_removes_the_files(tmp_path: Path) -> None:
    with EmbeddedAzure(arc_key_directory=tmp_path / "keys") as first:
        port = urlsplit(first.arm.url).port or 0
        second = EmbeddedAzure(arm_port=port, tls=True)
        with pytest.raises(OSError, match="in use"):
            second.start()
    assert second._directory is None
    with second as azure:
        assert azure.ca_file.exists()


@pytest.mark.parametrize("slash", ["", "/"])
def test_arm_takes_its_own_address_as_an_audience(slash: str) -> None:
    with EmbeddedAzure(tls=True) as azure:
        assert azure.imds._tokens.knows(azure.arm.url + slash)
        assert read(azure, azure.ssl_context(), azure.arm.url + slash) == 200


def test_self_signed_certificate_has_addresses_and_names() -> None:
    assert len(SelfSigned(("localhost", "::1", "127.0.0.1")).thumbprint) == 40
