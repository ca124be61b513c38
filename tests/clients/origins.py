"""Registries outside, with the test's image in them, that can go away: a Docker Hub of the tests, distribution 3.1.2,
Debian's docker-registry 2.8.2."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from oci_wire.manifest import OCI_INDEX, OCI_MANIFEST
from tests.clients.images import Layout
from tests.tools import require
from tests.upstreams.counting import CountingProxy
from tests.upstreams.foreign import D2, D3, registry
from tests.upstreams.hub import FakeHub


@dataclass(frozen=True)
class Origin:
    """``host``: what people call it; ``reference``: the image there; ``stop`` makes it be away; ``declared``: the rest of
    its node in a topology."""

    host: str
    url: str
    reference: str
    stop: Callable[[], None]
    declared: str = ""

    @property
    def node(self) -> str:
        """As a topology declares it."""
        return f"{{kind: external, url: '{self.url}', hosts: [{self.host}]{self.declared}}}"


def hub(folder: Path, layout: Layout, stack: ExitStack) -> Origin:
    started = stack.enter_context(FakeHub())
    held = started.holdings.repositories["library/hello"]
    for path in (layout.folder / "blobs" / "sha256").iterdir():
        digest = f"sha256:{path.name}"
        if digest in (layout.index, *layout.manifests):
            kind = OCI_INDEX if digest == layout.index else OCI_MANIFEST
            held.manifests[digest] = (kind, path.read_bytes())
        else:
            held.blobs[digest] = path.read_bytes()
    held.tags["1.0"] = layout.index
    declared = ", officialImages: true, realms: [127.0.0.2]"
    return Origin("docker.io", started.url, "docker.io/library/hello:1.0", started.stop, declared)


def distribution(folder: Path, layout: Layout, stack: ExitStack) -> Origin:
    return _filled(stack.enter_context(registry(D3, folder / "d3")), layout, stack)


def docker_registry(folder: Path, layout: Layout, stack: ExitStack) -> Origin:
    return _filled(stack.enter_context(registry(D2, folder / "d2")), layout, stack)


def _filled(host: str, layout: Layout, stack: ExitStack) -> Origin:
    """A registry with the image, behind a proxy that can go away."""
    copy = ["copy", "--all", "--dest-tls-verify=false", f"oci:{layout.folder}:1.0", f"docker://{host}/apps/hello:1.0"]
    subprocess.run([require("skopeo"), *copy], check=True, capture_output=True)
    line = stack.enter_context(CountingProxy(host))
    return Origin("registry.example", line.url, "registry.example/apps/hello:1.0", line.stop)


ORIGINS = {"hub": hub, "distribution": distribution, "docker-registry": docker_registry}
