"""Process 1 of the box, and its child that takes orders: JSON lines on stdin, an answer for each on stdout.

``{"do": "boot", "host": "eu-1"}`` -> ``{"ok": true, "value": null}`` or ``{"ok": false, "error": "..."}``. When whoever
gives the orders is gone, however it went, the box ends, and with it all of its processes, networks and mounts.
"""

from __future__ import annotations

import json
import os
import select
import sys
import threading
from pathlib import Path
from typing import Any

from tests.lab.guest import Guest
from tests.lab.network import Network, names, run
from tests.lab.places import HOSTS

LAB = Path("/run/lab")
GROUPS = Path("/sys/fs/cgroup")


class Box:
    """The hosts and their network. Methods are the orders."""

    def __init__(self, folder: Path, archive: Path, group: str) -> None:
        self._own_mounts(archive)
        self._network = Network((folder / "wan.log").open("ab"))
        self._guests = {
            name: Guest(
                host,
                lower=LAB / "rootfs",
                place=LAB / "hosts" / name,
                keys=folder / "keys",
                group=GROUPS / group,
                log=folder / f"{name}.log",
            )
            for name, host in HOSTS.items()
        }

    def _own_mounts(self, archive: Path) -> None:
        """/run, /sys/fs/cgroup and /etc/hosts are the box's own; the hosts' root file system lies in memory."""
        run(["mount", "-t", "tmpfs", "-o", "mode=0755", "box", "/run"])
        run(["mount", "-t", "cgroup2", "box", str(GROUPS)])
        (LAB / "rootfs").mkdir(parents=True)
        run(["tar", "--zstd", "--numeric-owner", "--xattrs", "-xf", str(archive), "-C", str(LAB / "rootfs")])
        (LAB / "hosts.txt").write_text(names())
        run(["mount", "--bind", str(LAB / "hosts.txt"), "/etc/hosts"])

    def boot(self, host: str, size: int) -> None:
        """Starts a host; one that has no disk yet gets an empty one of ``size`` bytes."""
        guest = self._guests[host]
        if guest.running:
            raise RuntimeError(f"{host} runs already")
        self._network.plug_in(guest.host)
        if not guest.root.is_mount():
            guest.furnish(size)
        guest.boot()

    def wait(self, host: str) -> None:
        self._guests[host].wait_ssh()

    def kill(self, host: str) -> None:
        self._guests[host].kill()
        self._network.take_away(self._guests[host].host)

    def clear(self, host: str) -> None:
        self._guests[host].clear()

    def rekey(self, host: str) -> None:
        self._guests[host].take_key()

    def leader(self, host: str) -> int:
        return self._guests[host].leader()

    def carrier(self, host: str, up: bool) -> None:
        self._network.carrier(self._guests[host].host, up)

    def line(self, **order: Any) -> None:
        self._network.order(**order)


def answer(box: Box, line: str) -> dict[str, Any]:
    order = json.loads(line)
    try:
        return {"ok": True, "value": getattr(box, order.pop("do"))(**order)}
    except Exception as error:
        return {"ok": False, "error": f"{type(error).__name__}: {error}"}


def end_with_the_orders() -> None:
    """Ends the process as soon as nobody can give orders any more, whatever it is doing."""
    hangup = select.poll()
    hangup.register(0, 0)
    hangup.poll()
    os._exit(0)


def serve(folder: Path, archive: Path, group: str) -> None:
    threading.Thread(target=end_with_the_orders, daemon=True).start()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    box = Box(folder, archive, group)
    print(json.dumps({"ok": True, "value": "ready"}), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(box, line)), file=answers, flush=True)


def main() -> None:
    """Process 1 buries what its namespace leaves to it, as an init does, until its own child has ended."""
    child = os.fork()
    if child == 0:
        serve(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
        return
    os.close(0)
    while True:
        ended, status = os.wait()
        if ended == child:
            os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


if __name__ == "__main__":
    main()
