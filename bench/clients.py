"""A client's whole command: skopeo pushes and pulls an image of twenty layers, its start and its sign-in included.

Layers are new in each round, else a push would find them there; the registries take turns at being first.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import os
import shutil
import subprocess
import tarfile
import time
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from bench.content import MIB, OCI_MANIFEST
from bench.lines import Figures
from bench.peers import D2, D3, Missing, Peer, distribution, started, towpath
from bench.rounds import Record
from tests.tools import find

LAYERS, LAYER_MIB = 20, 4
REPOSITORY = "bench/image"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def clients(figures: Figures, folder: Path, given: argparse.Namespace) -> None:
    """``given.rounds`` rounds after one that does not count: programs and files are cold then."""
    starts = [
        partial(towpath, folder / "ours", [REPOSITORY]),
        partial(distribution, folder / "d3", D3),
        partial(distribution, folder / "d2", D2),
    ]
    with started(starts) as peers:
        for number in range(given.rounds + 1):
            image = layout(folder / f"image{number}")
            for peer in (peers[number % len(peers) :] + peers[: number % len(peers)]) if peers else ():
                push_and_pull(peer, image, folder / "back", figures.of(peer.name) if number else _ignore)
            shutil.rmtree(image)


def push_and_pull(peer: Peer, image: Path, back: Path, record: Record) -> None:
    """``image``: an OCI layout. ``back``: a folder that is made and removed again. Raises Missing."""
    remote = f"docker://{peer.host}/{REPOSITORY}:{image.name}"
    record(f"skopeo push, {LAYERS} layers", _copied(peer, "dest", f"oci:{image}:1.0", remote))
    try:
        record(f"skopeo pull, {LAYERS} layers", _copied(peer, "src", remote, f"dir:{back}"))
        if len(list(back.iterdir())) < LAYERS + 2:  # the layers, the configuration, the manifest
            raise SystemExit(f"bench: skopeo pulled less than it pushed to {peer.name}")
    finally:
        shutil.rmtree(back, ignore_errors=True)


def _copied(peer: Peer, side: str, source: str, target: str) -> float:
    """Seconds of one ``skopeo copy``; ``side``: which end is the registry, src or dest."""
    program = find("skopeo")
    if program is None:
        raise Missing("skopeo is not installed (scripts/install-clients installs it)")
    login = (f"--{side}-creds", ":".join(peer.credentials)) if peer.credentials else (f"--{side}-no-creds",)
    command = [program, "copy", "--quiet", f"--{side}-tls-verify=false", *login, source, target]
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    took = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(f"bench: skopeo and {peer.name}: {done.stderr}")
    return took


def layout(folder: Path) -> Path:
    """An OCI layout of one image with LAYERS new layers of LAYER_MIB MiB each, which no compression makes smaller."""
    (folder / "blobs" / "sha256").mkdir(parents=True)
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    tars = [_tar(f"layer{number}") for number in range(LAYERS)]
    config = {
        "os": "linux",
        "architecture": "amd64",
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha256(each).hexdigest()}" for each in tars]},
    }
    body = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": _blob(folder, json.dumps(config).encode(), _CONFIG),
        "layers": [_blob(folder, gzip.compress(each, compresslevel=0), _LAYER) for each in tars],
    }
    described = _blob(folder, json.dumps(body).encode(), OCI_MANIFEST)
    named = {**described, "annotations": {"org.opencontainers.image.ref.name": "1.0"}}
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [named]}))
    return folder


def _tar(name: str) -> bytes:
    content, packed = os.urandom(LAYER_MIB * MIB), io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def _blob(folder: Path, content: bytes, media_type: str) -> dict[str, Any]:
    digest = sha256(content).hexdigest()
    (folder / "blobs" / "sha256" / digest).write_bytes(content)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}


def _ignore(line: str, value: float) -> None:
    """Of the first round."""
