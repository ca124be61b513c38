"""What we believe of our own nodes when we speak with them over TLS."""

from __future__ import annotations

import ssl

from sites.hosts import HostError
from topology.model import Placed, Topology


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
