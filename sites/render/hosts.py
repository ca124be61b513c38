"""The nodes as apply lays them down on hosts, for somebody else to lay down: the same files, and where they go."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator, Mapping

from sites.desired import layout
from sites.desired.files import Directory, File
from sites.desired.hosts import DesiredHost

READ_ME = "INSTALL.sh"


def on_hosts(hosts: Mapping[str, DesiredHost], names: Collection[str]) -> dict[str, str]:
    """By path: HOST/etc/..., as it lies on that host, and HOST/INSTALL.sh. Secrets are among them."""
    found: dict[str, str] = {}
    for name, host in hosts.items():
        if any(each.name in names for each in host.nodes):
            files = list(_files(host, names))
            found[f"{name}/{READ_ME}"] = "\n".join(_steps(host, names, files)) + "\n"
            found |= {f"{name}{each.path}": each.content.decode() for each in files}
    return found


def _files(host: DesiredHost, names: Collection[str]) -> Iterator[File]:
    for node in host.nodes:
        if node.name in names:
            yield from node.files
    yield from host.proxy.files


def _steps(host: DesiredHost, names: Collection[str], files: list[File]) -> Iterator[str]:
    """Shell lines, to be run as root in the folder where this file lies."""
    nodes = [each for each in host.nodes if each.name in names]
    yield "#!/bin/sh -e"
    yield f"# Host {host.target.name}, as root, in the folder of this file, with the release beside it:"
    yield f"#   {host.release.archive.name} of .towpath/releases, made by this towpath for {host.release.kind}"
    yield f"id {layout.USER} || useradd --system --user-group --no-create-home --home-dir {layout.DATA} {layout.USER}"
    yield from map(_made, (*host.directories, *(each for node in nodes for each in node.directories)))
    release = layout.release(host.release.identity)
    yield f"mkdir -p {release} && tar -C {release} -xzf {shlex.quote(host.release.archive.name)}"
    yield from map(_made, host.proxy.directories)
    for each in files:
        owned = f"-m {each.mode:04o} -o {each.owner} -g {each.group}"
        yield f"install -D {owned} {shlex.quote('.' + each.path)} {shlex.quote(each.path)}"
    for node in nodes:
        path, target = node.link
        yield f"ln -sfn {shlex.quote(target)} {shlex.quote(path)}"
    yield "systemctl daemon-reload"
    yield f"systemctl enable --now {' '.join(each.unit for each in nodes)}"
    if host.proxy.files:
        yield f"nginx -t && systemctl reload-or-restart {layout.NGINX_UNIT}"


def _made(each: Directory) -> str:
    return f"install -d -m {each.mode:04o} -o {each.owner} -g {each.group} {shlex.quote(each.path)}"
