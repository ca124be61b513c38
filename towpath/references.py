"""Images as people write them at the command line.

| written | means |
|---|---|
| SCOPE/REPOSITORY:TAG, ...@sha256:... | at the primary node of a declared scope |
| NODE/REPOSITORY:TAG, ...@sha256:... | at a declared node |
| HOST:PORT/REPOSITORY:TAG, ...@sha256:... | at any registry; http on loopback, else https |
| oci:FOLDER:TAG, oci:FOLDER | in an OCI image layout folder, as skopeo writes it; without a tag: its only image |
"""

from __future__ import annotations

import ipaddress
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from oci_wire.client import Credentials, RemoteRegistry
from oci_wire.errors import RegistryError
from oci_wire.layout import LayoutFolder
from oci_wire.reference import Reference
from promotions.place import Place
from sites.settings.trust import trust_of
from towpath.exits import Exit
from towpath.problem import Problem

if TYPE_CHECKING:
    from towpath.workspace import Workspace

LAYOUT = "oci:"


@dataclass(frozen=True, slots=True)
class Located:
    """An image somewhere: ``reference`` is a tag or a digest, "" when none was written."""

    place: Place
    tag: str = ""
    digest: str = ""

    @property
    def reference(self) -> str:
        return self.digest or self.tag

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.place}{tag}" + (f"@{self.digest}" if self.digest else "")


@dataclass
class Places:
    """Opens what references name; ``workspace`` None: no topology at hand, so no scopes. Close it when done."""

    workspace: Workspace | None
    credentials: Credentials | None = None
    _open: dict[str, RemoteRegistry] = field(default_factory=dict)
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def __aenter__(self) -> Places:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def locate(self, text: str, *, create: bool = False) -> Located:
        """Raises Problem (exit 2) for what cannot be read as a reference. ``create``: a missing layout is made."""
        if text.startswith(LAYOUT):
            return _in_layout(text.removeprefix(LAYOUT), create)
        first, slash, rest = text.partition("/")
        if slash and self.workspace and "." not in first and ":" not in first and first != "localhost":
            return await self._declared(text, first, rest)
        return await self._elsewhere(text)

    async def at_node(self, node: str, repository: str) -> Place:
        """A repository at a declared node."""
        assert self.workspace is not None
        declared = self.workspace.topology.nodes[node]
        scope = getattr(declared, "scope", None) or ""
        url, ours = self._url(node), declared.kind != "external"
        registry = await self._registry(url, getattr(declared, "namespace", None) or "", ours=ours)
        return Place(node, scope, registry, repository, repository, url)

    async def _declared(self, text: str, first: str, rest: str) -> Located:
        assert self.workspace is not None
        topology = self.workspace.topology
        if first in topology.scopes:
            node = topology.primary_name(first)
        elif first in topology.nodes:
            node = first
        else:
            known = ", ".join([*topology.scopes, *topology.nodes])
            _unreadable(text, f"{first} is no scope or node of {self.workspace.file}", f"known: {known}")
        parsed = _parsed(rest, text)
        return Located(await self.at_node(node, parsed.repository), parsed.tag, _text(parsed))

    async def _elsewhere(self, text: str) -> Located:
        parsed = _parsed(text, text)
        if not parsed.registry:
            _unreadable(
                text, "it names no registry", "write SCOPE/REPOSITORY:TAG, HOST:PORT/REPOSITORY:TAG or oci:FOLDER:TAG"
            )
        url = f"{'http' if _is_loopback(parsed.registry) else 'https'}://{parsed.registry}"
        registry = await self._registry(url, "", ours=self._is_ours(url))
        place = Place(parsed.registry, "", registry, parsed.repository, parsed.repository, url)
        return Located(place, parsed.tag, _text(parsed))

    def _url(self, node: str) -> str:
        assert self.workspace is not None
        declared = self.workspace.topology.nodes[node]
        url = getattr(declared, "url", None) or self.workspace.running_state().read_addresses().get(node)
        if url is None:
            raise Problem("no-address", f"node {node} has no address yet", next=f"towpath up -f {self.workspace.file}")
        return f"{url}{getattr(declared, 'base_path', None) or ''}"

    def _is_ours(self, url: str) -> bool:
        """Whether the user's secret may be shown there: at the topology's own nodes; anywhere when there is none."""
        return self.workspace is None or url in self.workspace.state.read_addresses().values()

    async def _registry(self, url: str, namespace: str, *, ours: bool) -> RemoteRegistry:
        key = f"{url}|{namespace}"
        if key not in self._open:
            credentials = self.credentials if ours else None
            trust = trust_of(self.workspace.topology) if ours and self.workspace else None
            remote = RemoteRegistry(url, credentials=credentials, namespace=namespace, trust=trust)
            self._open[key] = await self._stack.enter_async_context(remote)
        return self._open[key]


def _in_layout(text: str, create: bool) -> Located:
    folder, colon, tag = text.rpartition(":")
    if not colon or "/" in tag:
        folder, tag = text, ""
    digest = ""
    if "@" in folder:  # oci:FOLDER@sha256:HEX
        folder, _, algorithm = folder.partition("@")
        tag, digest = "", f"{algorithm}:{tag}"
    path = Path(folder)
    try:
        layout = LayoutFolder(path, create=create)
    except RegistryError as error:
        raise Problem(
            "no-layout", error.message, next="give a folder that skopeo or buildah wrote as oci:", exit=Exit.USAGE
        ) from None
    return Located(Place(f"oci:{path.parent}", "", layout, "", path.name, f"oci:{path.resolve()}"), tag, digest)


def _parsed(text: str, whole: str) -> Reference:
    try:
        return Reference.parse(text)
    except RegistryError as error:
        _unreadable(whole, error.message, "write SCOPE/REPOSITORY:TAG or SCOPE/REPOSITORY@sha256:...")


def _unreadable(text: str, why: str, next_step: str) -> NoReturn:
    raise Problem("reference-unreadable", f"{text!r} is no image reference", why=why, next=next_step, exit=Exit.USAGE)


def _text(parsed: Reference) -> str:
    return str(parsed.digest) if parsed.digest else ""


def _is_loopback(registry: str) -> bool:
    host = registry[1:].partition("]")[0] if registry.startswith("[") else registry.partition(":")[0]
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
