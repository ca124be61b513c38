"""Certificates of nodes: issued by the topology's authority, kept, and renewed in time."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from sites.desired.certificates import LIFE, pairs_of
from sites.desired.inventory import targets_of
from sites.hosts import HostErrors
from tests.sites import deployed
from topology.model import Topology

NOW = datetime.now(UTC)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return deployed.folder(tmp_path)


def issued(declared: Topology, base: Path, now: datetime = NOW) -> bytes:
    return pairs_of(declared, targets_of(declared), base / "issued", now)["sandbox-1"].certificate


def test_it_names_the_host_and_a_client_believes_it(base: Path) -> None:
    declared = deployed.topology(base)
    pair = pairs_of(declared, targets_of(declared), base / "issued", NOW)["sandbox-1"]
    certificate = x509.load_pem_x509_certificate(pair.certificate)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["eu-1", "sandbox-1"]
    assert [str(each) for each in names.get_values_for_type(x509.IPAddress)] == ["10.1.0.11"]
    (base / "pair.pem").write_bytes(pair.certificate + pair.key)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(base / "pair.pem")
    client = ssl.create_default_context(cafile=base / "pki" / "ca.crt")
    _shake_hands(server, client, "10.1.0.11")
    with pytest.raises(ssl.SSLCertVerificationError):
        _shake_hands(server, client, "10.1.0.99")


def _shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> None:
    ways = [ssl.MemoryBIO() for _ in range(4)]
    ends = [
        server.wrap_bio(ways[0], ways[1], server_side=True),
        client.wrap_bio(ways[1], ways[0], server_hostname=name),
    ]
    done = [False, False]
    for _ in range(10):
        for at in (1, 0):
            if not done[at]:
                try:
                    ends[at].do_handshake()
                    done[at] = True
                except ssl.SSLWantReadError:
                    pass
    assert all(done)


def test_the_same_one_until_it_is_time_to_renew(base: Path) -> None:
    declared = deployed.topology(base)
    first = issued(declared, base)
    assert issued(declared, base, NOW + LIFE - timedelta(days=31)) == first
    later = NOW + LIFE - timedelta(days=29)
    renewed = issued(declared, base, later)
    assert renewed != first
    assert x509.load_pem_x509_certificate(renewed).not_valid_after_utc > later + timedelta(days=60)


def test_another_authority_and_another_address_make_a_new_one(base: Path) -> None:
    declared = deployed.topology(base)
    first = issued(declared, base)
    moved = issued(deployed.topology(base, ("10.1.0.11", "10.1.0.99")), base)
    assert moved != first
    deployed.authority(base, "another one")
    assert issued(declared, base) != first


def test_a_kept_key_of_another_certificate_makes_a_new_pair(base: Path) -> None:
    """As a run leaves it that is cut between the two files."""
    declared = deployed.topology(base)
    first = issued(declared, base)
    folder = base / "issued"
    (folder / "sandbox-1.key").write_bytes((folder / "sandbox-2.key").read_bytes())
    pair = pairs_of(declared, targets_of(declared), folder, NOW)["sandbox-1"]
    assert pair.certificate != first
    (base / "pair.pem").write_bytes(pair.certificate + pair.key)
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(base / "pair.pem")


def test_it_names_the_authority_s_key_as_the_authority_does(base: Path) -> None:
    deployed.authority(base, known_as=b"by another rule")
    certificate = x509.load_pem_x509_certificate(issued(deployed.topology(base), base))
    named = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    assert named.key_identifier == b"by another rule"


def test_an_expired_authority_is_told(base: Path) -> None:
    deployed.authority(base, days=-2)
    with pytest.raises(HostErrors) as refused:
        issued(deployed.topology(base), base)
    error = refused.value.errors[0]
    assert (error.code, error.where) == ("certificate-unusable", "tls.ca.cert")
    assert "pki/ca.crt expired on " in error.what and error.why and error.next


def test_kept_keys_are_the_owner_s_alone(base: Path) -> None:
    declared = deployed.topology(base)
    issued(declared, base)
    assert {path.stat().st_mode & 0o777 for path in (base / "issued").iterdir()} == {0o600}


def test_what_is_given_to_a_node_is_taken_as_it_is(base: Path) -> None:
    (base / "own.crt").write_text("its certificate\n")
    (base / "own.key").write_text("its key\n")
    given = "port: 5001, tls: {cert: own.crt, key: {file: own.key}}}\n  sandbox-2"
    declared = deployed.topology(base, ("port: 5001}\n  sandbox-2", given))
    pair = pairs_of(declared, targets_of(declared), base / "issued", NOW)["sandbox-1"]
    assert (pair.certificate, pair.key) == (b"its certificate\n", b"its key\n")
    assert "its key" not in repr(pair)


def test_an_authority_that_is_none_is_told(base: Path) -> None:
    (base / "secrets" / "ca.key").write_text("no key\n")
    declared = deployed.topology(base)
    with pytest.raises(HostErrors) as refused:
        issued(declared, base)
    assert {(each.code, each.where) for each in refused.value.errors} == {("certificate-unusable", "tls.ca.key")}
