"""Whether an address is free, and who has it when it is not."""

from __future__ import annotations

import errno
import ipaddress
import socket
from contextlib import suppress
from pathlib import Path

from sites.hosts import HostError


def check_free(node: str, host: str, port: int) -> None:
    """Raises HostError when the node could not listen there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen()
        except OSError as error:
            raise _refusal(node, host, port, error) from None


def _refusal(node: str, host: str, port: int, error: OSError) -> HostError:
    where = f"node {node}"
    if error.errno == errno.EADDRINUSE:
        owner = owner_of(host, port)
        return HostError(
            "port-in-use",
            f"{host}:{port} is in use",
            where=where,
            why=f"{owner} listens there" if owner else "another program listens there",
            next=f"stop that program, or give {node} another port in the topology",
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return HostError(
            "no-such-address",
            f"this machine has no address {host}",
            where=where,
            why="every site gets a loopback address of its own; some systems have 127.0.0.1 alone",
            next=f"add it (macOS: sudo ifconfig lo0 alias {host})",
        )
    return HostError(
        "cannot-listen", f"{host}:{port} cannot be used: {error.strerror}", where=where, next="see the system's error"
    )


def owner_of(host: str, port: int) -> str | None:
    """``name (process 123)`` of whoever listens there, as far as this user may see (Linux: /proc/net/tcp)."""
    with suppress(OSError, ValueError, IndexError):
        inodes = _listening_inodes(host, port)
        for folder in Path("/proc").iterdir() if inodes else ():
            if folder.name.isdigit() and inodes & _sockets_of(folder):
                return f"{_name(folder)} (process {folder.name})"
    return None


def _listening_inodes(host: str, port: int) -> set[str]:
    address = ipaddress.ip_address(host).packed[::-1].hex().upper()
    wanted = {f"{address}:{port:04X}", f"{'0' * 8}:{port:04X}"}
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    any_six = f"{'0' * 32}:{port:04X}"
    six = Path("/proc/net/tcp6")
    rows += [line.split() for line in six.read_text().splitlines()[1:]] if six.exists() else []
    return {row[9] for row in rows if row[3] == "0A" and (row[1] in wanted or row[1] == any_six)}


def _sockets_of(folder: Path) -> set[str]:
    found: set[str] = set()
    with suppress(OSError):
        for descriptor in (folder / "fd").iterdir():
            with suppress(OSError):
                target = str(descriptor.readlink())
                if target.startswith("socket:["):
                    found.add(target[8:-1])
    return found


def _name(folder: Path) -> str:
    with suppress(OSError):
        words = [each.decode(errors="replace") for each in (folder / "cmdline").read_bytes().split(b"\0") if each]
        if "serve" in words and "--settings" in words[:-1]:
            return f"another topology's node, {words[words.index('--settings') + 1]}"
        if shown := " ".join(words[:6]):
            return shown if len(shown) <= 80 else f"{shown[:77]}..."
    return "a program"
