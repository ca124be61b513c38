"""What a client must be told so that it uses a mirror or virtual: the files it reads, word for word.

Sources: docs.docker.com (daemon.json), containerd docs/hosts.md, containers-registries.conf.d(5), BuildKit
docs/buildkitd.toml.md, kubernetes.io (pull an image from a private registry).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

from sites.settings.served import Served, beneath

CERTS = "/etc/containerd/certs.d"
_CONTAINERS = ("podman", "buildah", "skopeo")  # they read the same files


@dataclass(frozen=True, slots=True)
class Front:
    """A mirror or virtual as clients see it. ``ca``: PEM of a private authority; ``anonymous``: whether everyone may
    pull something there; ``pushes``: whether it takes pushes; ``names``: others that its own images are called by."""

    node: str
    url: str
    served: tuple[Served, ...]
    ca: str = ""
    anonymous: bool = False
    pushes: bool = False
    names: tuple[str, ...] = ()

    @property
    def authority(self) -> str:
        return self.url.partition("://")[2]

    @property
    def host(self) -> str:
        """HOST:PORT: what certificates and logins are looked up by, also where nodes share it and differ by path."""
        return self.authority.partition("/")[0]

    @property
    def plain(self) -> bool:
        return self.url.startswith("http://")

    def hosts(self) -> dict[str, str]:
        """Each registry that it stands before, once, with where that answers itself."""
        found: dict[str, str] = {}
        for each in self.served:
            found.setdefault(each.host, each.server)
        return found


@dataclass(frozen=True, slots=True)
class File:
    path: str
    content: str


@dataclass(frozen=True, slots=True)
class Setup:
    """``commands``: what to run then; ``notes``: what one must know."""

    files: tuple[File, ...]
    commands: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())


def docker(front: Front) -> Setup:
    """dockerd asks mirrors for Docker Hub's images alone, and sends them no credentials."""
    files, notes = [], []
    if "docker.io" in front.hosts() and front.host != front.authority:
        notes.append(f"dockerd takes no mirror with a path: write {front.authority}/... for docker.io")
    elif "docker.io" in front.hosts():
        files.append(File("/etc/docker/daemon.json", json.dumps({"registry-mirrors": [front.url]}, indent=2) + "\n"))
        notes.append("where daemon.json exists, add the key to it")
        if not front.anonymous:
            notes.append(f"docker sends no credentials to a mirror: {front.node} must let everyone pull, or name it")
    if others := [host for host in front.hosts() if host != "docker.io"]:
        notes.append(f"docker asks a mirror for docker.io alone; write {front.authority}/... for {', '.join(others)}")
    files += _authority(front, "/etc/docker/certs.d")
    reload = ("systemctl reload docker",) if files else ()
    return Setup(tuple(files), (*reload, *_login(front, "docker")), tuple(notes))


def containerd(front: Front) -> Setup:
    files = [*_hosts_files(front)]
    notes = [
        f'in /etc/containerd/config.toml the CRI\'s registry has config_path = "{CERTS}"; ctr: --hosts-dir {CERTS}'
    ]
    return Setup(tuple(files), (), (*notes, *_header_note(front)))


def kubernetes(front: Front) -> Setup:
    """A node's containerd, and a pull secret where the images are named by this address."""
    same = containerd(front)
    if front.anonymous:
        return same
    secret = (
        f"kubectl create secret docker-registry {front.node} --docker-server={front.host} "
        '--docker-username="$TOWPATH_USER" --docker-password="$TOWPATH_TOKEN"'
    )
    patch = json.dumps({"imagePullSecrets": [{"name": front.node}]})
    commands = (secret, f"kubectl patch serviceaccount default -p '{patch}'")
    return Setup(same.files, commands, ("the files go to every node of the cluster", *same.notes))


def containers(client: str, front: Front) -> Setup:
    """podman, buildah and skopeo: a drop-in of registries.conf. They do not say which registry they mean: a host whose
    names an earlier one answers is left out."""
    parts, notes = [_own_registry(front), *(_own_registry(front, name) for name in front.names)], []
    for at, each in enumerate(front.served):
        if _shadowed(each, front.served[:at]):
            notes.append(
                f"{each.host} is left out: {front.node} would ask {front.served[0].source} for its names first"
            )
            continue
        parts += [_mirrored(front, each.host, prefix) for prefix in each.prefixes]
    path = f"/etc/containers/registries.conf.d/towpath-{front.node}.conf"
    files = (File(path, "\n".join(parts)), *_authority(front, "/etc/containers/certs.d"))
    return Setup(files, _login(front, client), tuple(dict.fromkeys(notes)))


def buildkit(front: Front) -> Setup:
    parts = [
        f"[registry.{_text(host)}]\n  mirrors = [{_text(front.authority)}]\n" for host in (*front.hosts(), *front.names)
    ]
    own = f"[registry.{_text(front.host)}]\n"
    own += "  http = true\n" if front.plain else ""
    own += f"  ca = [{_text(f'/etc/buildkit/certs/{front.node}.crt')}]\n" if front.ca else ""
    files = [File("/etc/buildkit/buildkitd.toml", "\n".join([*parts, own]))]
    files += [File(f"/etc/buildkit/certs/{front.node}.crt", front.ca)] if front.ca else []
    notes = ("where buildkitd.toml exists, add these tables to it", "docker buildx create --config FILE reads it too")
    return Setup(tuple(files), _login(front, "docker"), notes)


def _hosts_files(front: Front) -> Iterator[File]:
    own = '"pull", "resolve"' + (', "push"' if front.pushes else "")
    yield from _hosts_file(front, front.host, front.url.removesuffix(front.authority) + front.host, own)
    for name in front.names:
        yield from _hosts_file(front, name, front.url, own)
    for host, server in front.hosts().items():
        yield from _hosts_file(front, host, server, '"pull", "resolve"')


def _hosts_file(front: Front, host: str, server: str, capabilities: str) -> Iterator[File]:
    folder, asked = f"{CERTS}/{host}", server if host == front.host else front.url
    lines = [f"server = {_text(server)}", "", f"[host.{_text(asked)}]", f"  capabilities = [{capabilities}]"]
    if front.ca:
        lines.append(f"  ca = {_text(f'{front.node}.crt')}")  # relative to this file
        yield File(f"{folder}/{front.node}.crt", front.ca)
    yield File(f"{folder}/hosts.toml", "\n".join(lines) + "\n")


def _header_note(front: Front) -> tuple[str, ...]:
    if front.anonymous or not front.served:
        return ()
    header = f'[host.{_text(front.url)}.header] authorization = "Basic ..."'
    return (
        f"{front.node} asks who pulls: where the client gives it no credentials, add {header}; keep that file 0600",
    )


def _own_registry(front: Front, name: str = "") -> str:
    """``name``: another one by which it is called."""
    prefix = [f"prefix = {_text(name)}"] if name else []
    lines = ["[[registry]]", *prefix, f"location = {_text(front.authority)}"]
    return "\n".join([*lines, *(["insecure = true"] if front.plain else []), ""])


def _mirrored(front: Front, host: str, prefix: str) -> str:
    below = f"/{prefix}" if prefix else ""
    lines = ["[[registry]]", f"prefix = {_text(host + below)}", f"location = {_text(host + below)}", ""]
    lines += ["[[registry.mirror]]", f"location = {_text(front.authority + below)}"]
    return "\n".join([*lines, *(["insecure = true"] if front.plain else []), ""])


def _shadowed(each: Served, before: tuple[Served, ...]) -> bool:
    earlier = (prefix for other in before if other.source != each.source for prefix in other.prefixes)
    return any(beneath(mine, one) or beneath(one, mine) for one in earlier for mine in each.prefixes)


def _authority(front: Front, folder: str) -> list[File]:
    return [File(f"{folder}/{front.host}/ca.crt", front.ca)] if front.ca else []


def _login(front: Front, client: str) -> tuple[str, ...]:
    if front.anonymous and not front.pushes:
        return ()
    plain = " --tls-verify=false" if front.plain and client in _CONTAINERS else ""
    login = f'{client} login{plain} -u "$TOWPATH_USER" --password-stdin {front.host}'
    return (f'printf %s "$TOWPATH_TOKEN" | {login}',)


def _text(value: str) -> str:
    """A TOML basic string: JSON's escapes are among TOML's."""
    return json.dumps(value, ensure_ascii=False)


CLIENTS: dict[str, Callable[[Front], Setup]] = {
    "docker": docker,
    **{client: partial(containers, client) for client in _CONTAINERS},
    "containerd": containerd,
    "buildkit": buildkit,
    "kubernetes": kubernetes,
}
