"""The certificate that a node shows: checked before it is used, and taken anew when its files change.

A new pair that cannot be used is refused and logged; the one before goes on. Open connections keep what they began
with. The files may be replaced in place, or by a switched link as Kubernetes does with a mounted secret.
"""

from __future__ import annotations

import os
import ssl
import stat
import time
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.serialization import load_pem_private_key

from registry_node.metrics import write_line

_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"  # of TLS 1.2; all of TLS 1.3's are good
_DAY = 86400.0
_WARN_SECONDS = 14 * _DAY  # before the end; a fifth of its life for a certificate that lives shorter
_Stamp = tuple[tuple[int, int, int, int], ...]


class CertificateUnusable(Exception):
    """The pair cannot be used; the message says which file, why and what to do."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A checked certificate with its key. ``begins``, ``ends``: seconds since the epoch."""

    context: ssl.SSLContext
    subject: str
    begins: float
    ends: float

    def usable_at(self, now: float) -> bool:
        return self.begins <= now < self.ends

    def ends_soon(self, now: float) -> bool:
        return self.ends - now < min(_WARN_SECONDS, (self.ends - self.begins) / 5)


class Certificates:
    """The pair in use. ``context`` is for new connections; ``handshakes_failed`` counts. Not safe for several threads."""

    def __init__(self, certificate: Path, key: Path) -> None:
        """Raises CertificateUnusable."""
        self._paths, self.handshakes_failed = (certificate, key), 0
        self._stamp = _stamp(self._paths)
        self._pair = load(certificate, key)
        self._warned = 0.0
        self._warn()

    @property
    def context(self) -> ssl.SSLContext:
        return self._pair.context

    def seconds_left(self) -> float:
        """Until it expires; negative: since."""
        return self._pair.ends - time.time()

    def look(self) -> None:
        """To be called every second: takes what the files hold when they have changed, and warns of the end."""
        if _stamp(self._paths) != self._stamp:
            self.reload()
        self._warn()

    def reload(self) -> None:
        """Takes the pair that the files hold now, or says in the log why not. Never raises."""
        self._stamp = _stamp(self._paths)
        try:
            pair = load(*self._paths)
            if not pair.usable_at(time.time()):
                raise CertificateUnusable(f"{self._paths[0]} is not valid now ({_life(pair)}); get one that is")
        except CertificateUnusable as error:
            write_line(level="error", event="certificate refused", message=f"{error}. The one before stays in use")
            return
        self._pair, self._warned = pair, 0.0
        write_line(level="info", event="certificate taken", subject=pair.subject, message=_life(pair))

    def _warn(self) -> None:
        """Once a day, for as long as the end is near or past."""
        now = time.time()
        if now - self._warned < _DAY or (self._pair.usable_at(now) and not self._pair.ends_soon(now)):
            return
        self._warned = now
        level = "warning" if self._pair.usable_at(now) else "error"
        message = f"{self._paths[0]} is {_life(self._pair)}; put a new certificate and key in place, no restart needed"
        write_line(level=level, event="certificate ends", seconds_left=int(self.seconds_left()), message=message)


def load(certificate: Path, key: Path) -> Pair:
    """Checks both files and that they belong together. Raises CertificateUnusable."""
    from cryptography import x509  # noqa: PLC0415 - a node without TLS starts without it

    (shown, private) = (_read(certificate), _read_key(key))
    try:
        first = x509.load_pem_x509_certificates(shown)[0]
    except ValueError:
        raise CertificateUnusable(f"{certificate} holds no certificate in PEM form") from None
    try:
        private_key = load_pem_private_key(private, None)
    except TypeError:
        raise CertificateUnusable(f"{key} has a passphrase, which nobody is here to type; store it without") from None
    except ValueError:
        raise CertificateUnusable(f"{key} holds no private key in PEM form") from None
    if private_key.public_key() != first.public_key():
        raise CertificateUnusable(
            f"{key} is not the key of the first certificate in {certificate}; take both from one issue"
        )
    begins, ends = first.not_valid_before_utc.timestamp(), first.not_valid_after_utc.timestamp()
    return Pair(_context(certificate, key), first.subject.rfc4514_string(), begins, ends)


def _context(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE  # all are good: the client knows which it is fastest at
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key)
    except (ssl.SSLError, OSError) as error:
        raise CertificateUnusable(f"{certificate} and {key} are refused by OpenSSL: {error.args[-1]}") from None
    return context


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CertificateUnusable(f"{path} cannot be read: {error.strerror}") from None


def _read_key(path: Path) -> bytes:
    """Of a file that nobody else may use; root may give it to this process's group, as Kubernetes' fsGroup does."""
    try:
        status = path.stat()
    except OSError as error:
        raise CertificateUnusable(f"{path} cannot be read: {error.strerror}") from None
    mode = stat.S_IMODE(status.st_mode)
    others = 0o037 if status.st_uid == 0 and os.geteuid() != 0 else 0o077
    if mode & others:
        raise CertificateUnusable(f"{path} is open to others (mode {mode:04o}); chmod 600 {path}")
    return _read(path)


def _stamp(paths: tuple[Path, ...]) -> _Stamp:
    """Changes with every replacement, write and chmod; links are followed."""
    found = []
    for path in paths:
        try:
            status = path.stat()
        except OSError:
            found.append((0, 0, 0, 0))
        else:
            found.append((status.st_dev, status.st_ino, status.st_ctime_ns, status.st_size))
    return tuple(found)


def _life(pair: Pair) -> str:
    begins, ends = (time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(each)) for each in (pair.begins, pair.ends))
    return f"valid from {begins} to {ends}"
