"""Pushes of small things: for each image a config blob (POST, PUT) and a manifest with its tag."""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from urllib.parse import urlsplit

from bench.connection import Connection
from bench.content import OCI_MANIFEST
from bench.peers import Peer

_CONFIG = "application/vnd.oci.image.config.v1+json"


def rate(peer: Peer, repositories: list[str], connections: int, seconds: float) -> float:
    """Images a second, each of three requests: no content comes twice."""
    until = time.perf_counter() + seconds

    def work(number: int) -> int:
        with Connection(peer) as connection:
            for count, name in enumerate(_round(repositories, number)):
                if time.perf_counter() >= until:
                    return count
                _push(connection, name, os.urandom(8).hex(), peer.headers(name))
        return 0

    with ThreadPoolExecutor(connections) as threads:
        began = time.perf_counter()
        done = sum(threads.map(work, range(connections)))
        return done / (time.perf_counter() - began)


def _round(names: list[str], first: int) -> Iterator[str]:
    return itertools.islice(itertools.cycle(names), first, None)


def _push(connection: Connection, repository: str, mark: str, headers: dict[str, str]) -> None:
    config = json.dumps({"os": "linux", "architecture": "amd64", "mark": mark}).encode()
    digest = f"sha256:{sha256(config).hexdigest()}"
    opened, _ = connection.ask(f"POST /v2/{repository}/blobs/uploads/", headers, expected=b"202")
    url = urlsplit(opened[b"location"].decode())
    target = f"{url.path}?{url.query + '&' if url.query else ''}digest={digest}"
    octets = {**headers, "Content-Type": "application/octet-stream"}
    connection.ask(f"PUT {target}", octets, config, expected=b"201")
    body = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": _CONFIG, "digest": digest, "size": len(config)},
            "layers": [],
            "annotations": {"made.for": "x" * 1400},
        }
    )
    line = f"PUT /v2/{repository}/manifests/v{mark}"
    connection.ask(line, {**headers, "Content-Type": OCI_MANIFEST}, body.encode(), expected=b"201")
