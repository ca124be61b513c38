"""What we believe of our own nodes when we speak with them over TLS."""

from __future__ import annotations

import re
import ssl
from pathlib import Path

from sites.hosts import HostError
from topology.model import Placed, Topology

_CERTIFICATE = re.compile(rb"-----BEGIN ((?:X509 |TRUSTED )?CERTIFICATE)-----.*?-----END \1-----\r?\n?", re.DOTALL)


def authority_of(topology: Topology) -> bytes | None:
    """PEM of what tls.ca.cert certifies, to be given to everybody: the certificates alone, since the authority's key may
    stand in the same file (RFC 7468, 5.1 knows what else may). None: the topology has no authority. Raises HostError."""
    if topology.tls is None:
        return None
    path = topology.base / topology.tls.ca.cert
    try:
        found = b"".join(each[0] for each in _CERTIFICATE.finditer(path.read_bytes()))
    except OSError as error:
        raise _unusable(path, f"cannot be read: {error.strerror}") from None
    if not found:
        raise _unusable(path, "holds no certificate in PEM form")
    return found


def _unusable(path: Path, what: str) -> HostError:
    return HostError(
        "certificate-unusable", f"{path} {what}", where="tls.ca.cert", next="put the authority's certificate there"
    )


def trust_of(topology: Topology) -> ssl.SSLContext | None:
    """The system's authorities, the topology's, and the certificates given to nodes. None: no node of it speaks TLS.
    Raises HostError for a file that holds no certificate."""
    given = [each.tls.cert for each in topology.nodes.values() if isinstance(each, Placed) and each.tls]
    paths = [topology.base / each for each in (*([topology.tls.ca.cert] if topology.tls else ()), *given)]
    if not paths:
        return None
    context = ssl.create_default_context()
    for path in paths:
        try:
            context.load_verify_locations(path)
        except (OSError, ssl.SSLError) as error:
            what = f"{path} holds no certificate: {error}"
            raise HostError("certificate-unusable", what, next="put a certificate in PEM form there") from None
    return context
