"""Certificates for tests, by an authority of their own.

authority = Authority(folder)
pair = authority.issue(folder / "node")          # {"certificate": ..., "key": ...}, as the settings want it
httpx.get(..., verify=authority.trusted())
"""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme

NAMES = ("localhost", "127.0.0.1", "registry.test")


class Authority:
    """``file``: its certificate, for clients."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._ca, self.file = trustme.CA(), folder / "ca.crt"
        self._ca.cert_pem.write_to_path(str(self.file))

    def trusted(self) -> ssl.SSLContext:
        """For a client that trusts this authority alone."""
        return ssl.create_default_context(cafile=str(self.file))

    def issue(
        self, folder: Path, *, begins: timedelta = timedelta(hours=-1), ends: timedelta = timedelta(days=90)
    ) -> dict[str, str]:
        """Writes ``tls.crt`` and ``tls.key`` (0600); each file is replaced in one step. Times count from now."""
        now = datetime.now(UTC)
        issued = self._ca.issue_cert(*NAMES, not_before=now + begins, not_after=now + ends)
        folder.mkdir(parents=True, exist_ok=True)
        certificate, key = folder / "tls.crt", folder / "tls.key"
        _replace(certificate, b"".join(each.bytes() for each in issued.cert_chain_pems))
        _replace(key, issued.private_key_pem.bytes())
        return {"certificate": str(certificate), "key": str(key)}


def _replace(path: Path, content: bytes) -> None:
    fresh = path.with_suffix(".new")
    fresh.touch(0o600)
    fresh.write_bytes(content)
    fresh.replace(path)


def fingerprint(host: str, port: int) -> bytes:
    """The certificate that a server shows to a new connection, whoever issued it (DER)."""
    pem = ssl.get_server_certificate((host, port), timeout=10)
    return ssl.PEM_cert_to_DER_cert(pem)


def of_file(pair: dict[str, str]) -> bytes:
    """The first certificate of a pair's file (DER)."""
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    first = begin + Path(pair["certificate"]).read_text().split(begin)[1].split(end)[0] + end
    return ssl.PEM_cert_to_DER_cert(first)
