"""Certificates for the nodes: those that the topology gives, else issued by the authority that it names.

An issued pair is kept in the state folder and used again until it is time to renew it, so that two plans want the same.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sites.desired.inventory import Target
from sites.hosts import HostError, HostErrors
from sites.state import write_private
from topology.model import Placed, Topology
from topology.proxies import public_address
from topology.secrets import SecretUnreadable, read

LIFE = timedelta(days=90)
RENEW_BEFORE = timedelta(days=30)
_BACKDATED = timedelta(hours=1)  # clocks differ
_SigningKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True, slots=True)
class Pair:
    """PEM: the certificate with its chain, and its key."""

    certificate: bytes
    key: bytes

    def __repr__(self) -> str:
        return "Pair(***)"


def pairs_of(topology: Topology, targets: Mapping[str, Target], kept: Path, now: datetime) -> dict[str, Pair]:
    """By node; none for nodes that speak plain HTTP. New ones are written to ``kept``. Raises HostErrors."""
    found: dict[str, Pair] = {}
    errors: list[HostError] = []
    for target in targets.values():
        for node in target.nodes:
            try:
                if pair := _pair(topology, node, target, kept, now):
                    found[node] = pair
            except HostError as error:
                errors.append(error)
    if errors:
        raise HostErrors(errors)
    return found


def _pair(topology: Topology, node: str, target: Target, kept: Path, now: datetime) -> Pair | None:
    declared = topology.nodes[node]
    assert isinstance(declared, Placed)
    where = f"nodes.{node}.tls"
    if declared.tls:
        return Pair(_file(topology.base / declared.tls.cert, where), _secret(topology, declared.tls.key, where))
    if topology.tls is None:
        return None
    names = names_of(topology, node, target)
    renew_before = topology.tls.renew_before or RENEW_BEFORE
    authority, key = _authority(topology, now)
    pair = _kept(kept, node)
    if pair and _good(pair, authority, names, now + min(renew_before, LIFE / 2)):
        return pair
    pair = issue(authority, key, node, names, now)
    kept.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(kept / f"{node}.key", pair.key)
    write_private(kept / f"{node}.crt", pair.certificate)
    return pair


def names_of(topology: Topology, node: str, target: Target) -> tuple[str, ...]:
    """What clients may call the node: its name at a proxy, its host's addresses, its host's name and its own."""
    declared = topology.sites[target.site].hosts[target.name]
    public = public_address(topology, node)
    called = (*((public.host,) if public else ()), declared.reached_at or target.address)
    return tuple(dict.fromkeys((*called, target.address, target.name, node)))


def issue(authority: x509.Certificate, key: _SigningKey, node: str, names: Iterable[str], now: datetime) -> Pair:
    """A server's certificate for these names (RFC 5280; names as RFC 6125 wants them, in subjectAltName)."""
    own = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, node)]))
        .issuer_name(authority.subject)
        .public_key(own.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(min(now + LIFE, authority.not_valid_after_utc))
        .add_extension(x509.SubjectAlternativeName([_general(each) for each in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(own.public_key()), critical=False)
        .add_extension(_identifier(authority, key), critical=False)
        .sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())
    )
    plain = own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    chain = certificate.public_bytes(Encoding.PEM) + authority.public_bytes(Encoding.PEM)
    return Pair(chain, plain)


def _identifier(authority: x509.Certificate, key: _SigningKey) -> x509.AuthorityKeyIdentifier:
    """As the authority calls its own key, which need not be a hash of it (RFC 5280, 4.2.1.1)."""
    try:
        own = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _authority(topology: Topology, now: datetime) -> tuple[x509.Certificate, _SigningKey]:
    assert topology.tls is not None
    path = topology.base / topology.tls.ca.cert
    try:
        certificate = x509.load_pem_x509_certificate(_file(path, "tls.ca.cert"))
    except ValueError:
        raise _refusal("tls.ca.cert", f"{path} holds no certificate in PEM form") from None
    if certificate.not_valid_after_utc <= now:
        raise HostError(
            "certificate-unusable",
            f"{path} expired on {certificate.not_valid_after_utc:%Y-%m-%d}",
            where="tls.ca.cert",
            why="no client believes a certificate of an expired authority",
            next="put the renewed authority's certificate there (and its key at tls.ca.key), then apply again",
        )
    try:
        key = load_pem_private_key(_secret(topology, topology.tls.ca.key, "tls.ca.key"), None)
    except (ValueError, TypeError):
        what = f"{topology.tls.ca.key} holds no private key in PEM form without a passphrase"
        raise _refusal("tls.ca.key", what) from None
    if not isinstance(key, _SigningKey) or key.public_key() != certificate.public_key():
        raise _refusal("tls.ca.key", f"{topology.tls.ca.key} is not the key of {path}")
    return certificate, key


def _kept(folder: Path, node: str) -> Pair | None:
    try:
        return Pair((folder / f"{node}.crt").read_bytes(), (folder / f"{node}.key").read_bytes())
    except OSError:
        return None


def _good(pair: Pair, authority: x509.Certificate, names: tuple[str, ...], until: datetime) -> bool:
    """Whether a kept pair belongs together, is of this authority, for these names, and lives long enough."""
    try:
        certificate = x509.load_pem_x509_certificate(pair.certificate)
        named = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        certificate.verify_directly_issued_by(authority)
        if load_pem_private_key(pair.key, None).public_key() != certificate.public_key():
            return False  # a run was cut between the two files
    except Exception:
        return False
    lives = certificate.not_valid_after_utc >= min(until, authority.not_valid_after_utc)
    return lives and list(named) == [_general(each) for each in names]


def _file(path: Path, where: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _refusal(where, f"{path} cannot be read: {error.strerror}") from None


def _secret(topology: Topology, reference: object, where: str) -> bytes:
    try:
        return read(reference, topology.base) + b"\n"  # type: ignore[arg-type]
    except SecretUnreadable as error:
        raise _refusal(where, str(error)) from None


def _refusal(where: str, what: str) -> HostError:
    return HostError("certificate-unusable", what, where=where, next="put certificate and key, both PEM, there")


def now_utc() -> datetime:
    return datetime.now(UTC)
