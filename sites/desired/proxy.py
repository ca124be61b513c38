"""The nginx in front of a host's nodes: its configuration and the certificates that it shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sites.desired import layout
from sites.desired.files import Directory, File
from sites.desired.inventory import Target
from sites.desired.placement import Given
from sites.texts import text_of
from topology.model import Placed, Topology
from topology.proxies import PublicAddress, public_address

PROXY_FOLDER = Directory(str(layout.PROXY), 0o700)


@dataclass(frozen=True, slots=True)
class Passed:
    """One node as nginx passes clients on to it. ``port``: where it listens on loopback."""

    node: str
    public: PublicAddress
    port: int
    certificate: str  # paths; "": plain HTTP, on loopback
    key: str

    @property
    def pattern(self) -> str:
        """Its path in nginx's regular expressions: the dot alone means something there."""
        return self.public.path.replace(".", r"\.")


@dataclass(frozen=True, slots=True)
class DesiredProxy:
    """``files``: the configuration last, since it names the others. Nothing of either: no node is behind nginx."""

    files: tuple[File, ...] = ()
    directories: tuple[Directory, ...] = ()
    ports: tuple[int, ...] = ()


def proxy_of(topology: Topology, target: Target, given: Mapping[str, Given]) -> DesiredProxy:
    """``given`` holds the pairs that nginx shows."""
    behind = [name for name in target.nodes if public_address(topology, name)]
    if not behind:
        return DesiredProxy()
    files = []
    passed = [_passed(topology, name) for name in behind]
    for name in (each.node for each in _shown(passed)):
        if pair := given[name].proxy_pair:
            files.append(File(str(layout.proxy_certificate(name)), pair.certificate))
            files.append(File(str(layout.proxy_key(name)), pair.key, 0o600, secret=True))
    files.append(File(str(layout.NGINX), _configuration(topology, target.site, target.name, passed).encode()))
    return DesiredProxy(tuple(files), (PROXY_FOLDER,), tuple(sorted({each.public.port for each in passed})))


def configurations(topology: Topology, names: Iterable[str]) -> dict[str, str]:
    """By host: what nginx is told of these nodes, as far as they stand behind one."""
    hosts: dict[tuple[str, str], list[Passed]] = {}
    for name in names:
        node = topology.nodes[name]
        if isinstance(node, Placed) and public_address(topology, name):
            hosts.setdefault((node.site, node.host), []).append(_passed(topology, name))
    return {host: _configuration(topology, site, host, passed) for (site, host), passed in hosts.items()}


def _shown(passed: Sequence[Passed]) -> list[Passed]:
    """Those whose certificate nginx shows: of nodes told apart by path, the first by name has it for all."""
    by_path = sorted((each for each in passed if each.public.path), key=lambda each: each.node)
    return [each for each in passed if not each.public.path] + by_path[:1]


def _passed(topology: Topology, name: str) -> Passed:
    node, public = topology.nodes[name], public_address(topology, name)
    assert isinstance(node, Placed) and public is not None
    tls = node.tls or topology.tls
    paths = (str(layout.proxy_certificate(name)), str(layout.proxy_key(name))) if tls else ("", "")
    return Passed(name, public, node.port, *paths)


def _configuration(topology: Topology, site: str, name: str, passed: Sequence[Passed]) -> str:
    """What nginx includes in its http block. Values are of the topology's grammar of names: nothing needs quoting."""
    host = topology.sites[site].hosts[name]
    everywhere = "[::]:" if ":" in (host.reached_at or "") else ""
    refusing = {each.public.port: bool(each.certificate) for each in passed if each.public.named}
    at = "127.0.0.1:" if host.loopback else everywhere
    ordered = sorted(passed, key=lambda each: each.node)
    by_path = [each for each in ordered if each.public.path]
    others = [each for each in ordered if not each.public.path]
    return text_of("nginx.conf.j2", passed=others, by_path=by_path, host=name, refusing=refusing, at=at)
