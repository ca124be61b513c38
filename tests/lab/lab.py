"""What tests hold: four hosts, the lines between them, and every fault that a host or a line can have.

lab.run(["ssh", ...])            on the operator's network, which reaches all hosts
lab.on("eu-1", "systemctl ...")  as root on a host
lab.cut("eu", "us"); lab.mend()
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

import psutil

from tests.lab import keys, sealed
from tests.lab.places import HOSTS, NETWORKS
from tests.tools import find

_ROOT = Path(__file__).resolve().parent.parent.parent
DISK = 3 * 2**30
RATE = 200e6
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class LabError(AssertionError):
    """The lab could not do what it was told, or a command in it ended with a status other than 0."""


class Lab:
    """``hosts`` by name, ``key``: the private key of the deployer, ``known_hosts``: the hosts' public keys, ``home``: the
    operator's home folder, ``folder``: where consoles (``eu-1.log``) and keys are written."""

    def __init__(self, folder: Path, archive: Path) -> None:
        self.folder, self.hosts = folder, dict(HOSTS)
        self.key, self.known_hosts, self.home = folder / "keys" / "deploy", folder / "known_hosts", folder / "home"
        self.home.mkdir()
        keys.make(self.key)
        self._host_keys = {name: keys.make(folder / "keys" / name) for name in self.hosts}
        self._write_known_hosts()
        self._one_order = threading.Lock()
        self._changed_lines: set[tuple[str, str]] = set()
        self._unplugged: set[str] = set()
        self._filtered: set[str] = set()
        with (folder / "box.log").open("ab") as log:
            self._sealed = subprocess.Popen(
                [sys.executable, "-m", "tests.lab.sealed", str(folder), str(archive)],
                cwd=_ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        self._answer()
        self._box = self._process_one()

    # -- orders to the box

    def _order(self, do: str, **order: Any) -> Any:
        with self._one_order:
            assert self._sealed.stdin is not None
            self._sealed.stdin.write(json.dumps({"do": do, **order}) + "\n")
            self._sealed.stdin.flush()
            return self._answer()

    def _answer(self) -> Any:
        assert self._sealed.stdout is not None
        line = self._sealed.stdout.readline()
        if not line:
            raise LabError(f"the box has ended:\n{(self.folder / 'box.log').read_text()[-4000:]}")
        answer = json.loads(line)
        if not answer["ok"]:
            raise LabError(answer["error"])
        return answer["value"]

    def _process_one(self) -> int:
        """This machine's number for the box's process 1: the child of unshare, which is the child of sealed.py."""
        (unshare,) = psutil.Process(self._sealed.pid).children()
        (box,) = unshare.children()
        return box.pid

    def _write_known_hosts(self) -> None:
        lines = (f"{host.address},{host.address6} {self._host_keys[name]}\n" for name, host in self.hosts.items())
        self.known_hosts.write_text("".join(lines))

    # -- commands

    def argv(self, argv: Sequence[str], *, cwd: Path | None = None) -> list[str]:
        """A command as this machine starts it, to run on the operator's network; for a ``Popen`` of your own."""
        enter = ["nsenter", f"--target={self._box}", "--mount", "--net", "--pid", "--ipc", "--uts", "--"]
        return [*enter, "env", f"--chdir={cwd or Path.cwd()}", *argv]

    def network_of(self, host: str) -> list[str]:
        """What comes before a command that is to run on a host's network; "": the operator's."""
        return ["nsenter", f"--target={self._order('leader', host=host)}", "--net", "--"] if host else []

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """The operator's: a home folder of its own, this checkout's modules, the deployer's key."""
        own = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
        given = {"HOME": str(self.home), "PYTHONPATH": str(_ROOT), "TOWPATH_SSH_KEY": str(self.key)}
        return {**own, **given, "XDG_RUNTIME_DIR": str(self.home), **(extra or {})}

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        check: bool = True,
        timeout: float = 110,
        stdin: str = "",
        at: str = "",
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command of this machine on the operator's network, or on that of a host (``at``), as a client there would.
        Raises LabError with what it said, unless ``check`` is False."""
        own = [find(argv[0]) or argv[0], *argv[1:]]
        whole = self.argv([*self.network_of(at), *own], cwd=cwd)
        return _finish(whole, self.environment(env), check, timeout, stdin)

    def towpath(self, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """``towpath WORDS`` of this checkout, on the operator's network; options as ``run`` has them."""
        return self.run([sys.executable, "-P", "-m", "towpath", *words], **options)

    def ssh(self, host: str, line: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """A shell line on a host as the deployer, through sshd."""
        settings = [f"UserKnownHostsFile={self.known_hosts}", "StrictHostKeyChecking=yes", "BatchMode=yes"]
        settings += ["IdentitiesOnly=yes", "ConnectTimeout=8", "LogLevel=ERROR"]
        given = [word for setting in settings for word in ("-o", setting)]
        return self.run(["ssh", "-F", "none", "-i", str(self.key), *given, self.hosts[host].ssh, line], **options)

    def on(
        self, host: str, line: str, *, check: bool = True, timeout: float = 60, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """A shell line as root on a host, past sshd and its network. Raises LabError, unless ``check`` is False."""
        whole = self.argv(self.enter(host, ["/bin/sh", "-c", line]), cwd=Path("/"))
        return _finish(whole, dict(os.environ), check, timeout, stdin)

    def enter(self, host: str, argv: Sequence[str]) -> list[str]:
        """A command in a host's namespaces, as the box starts it: ``lab.argv(lab.enter("eu-1", [...]))``."""
        leader = self._order("leader", host=host)
        clean = ["env", "-i", f"PATH={_PATH}", "HOME=/root", "LC_ALL=C.UTF-8", "--chdir=/"]
        return ["nsenter", f"--target={leader}", "--mount", "--uts", "--ipc", "--net", "--pid", "--", *clean, *argv]

    # -- hosts

    def start(self, *names: str) -> None:
        """Boots hosts that are off (all of them by default) and waits until sshd answers."""
        for name in names or self.hosts:
            self._order("boot", host=name, size=DISK)
        for name in names or self.hosts:
            self._order("wait", host=name)

    def kill(self, host: str) -> None:
        """As a power cut. What the host had written stays, and ``start`` boots it again."""
        self._order("kill", host=host)

    def reset(self, *names: str, size: int = DISK) -> None:
        """Empty machines with the same names, addresses and keys, booted; ``size``: bytes of their disks."""
        for name in names or self.hosts:
            self._order("kill", host=name)
            self._order("clear", host=name)
            self._order("boot", host=name, size=size)
        for name in names or self.hosts:
            self._order("wait", host=name)

    def change_host_key(self, host: str) -> str:
        """sshd of a host gets another key, which ``known_hosts`` does not hold; the public line of the new key."""
        public = keys.make(self.folder / "keys" / host)
        self._order("rekey", host=host)
        self.on(host, "systemctl restart ssh")
        self._order("wait", host=host)
        return public

    def skew(self, host: str, seconds: float) -> None:
        """Every Python on a host sees another time; 0: the right one. The kernel's own clock is this machine's too, and no
        namespace parts the two (time_namespaces(7): CLOCK_REALTIME is not one of theirs)."""
        text = f"import time\n\n_right = time.time\ntime.time = lambda: _right() + {seconds}\n" if seconds else ""
        stdlib = "$(python3 -c 'import sysconfig; print(sysconfig.get_path(\"stdlib\"))')"
        self.on(host, f"cat > {stdlib}/sitecustomize.py", stdin=text)

    def trust_host_keys(self) -> None:
        """``known_hosts`` holds the keys that the hosts have now."""
        for name in self.hosts:
            self._host_keys[name] = (self.folder / "keys" / f"{name}.pub").read_text().strip()
        self._write_known_hosts()

    # -- lines

    def line(self, source: str, target: str, **settings: Any) -> None:
        """One direction between two sites (eu, us, operator); settings as wan.Line has them."""
        self._changed_lines.add((source, target))
        self._order("line", **{"from": source, "to": target}, **settings)

    def delay(self, ms: float, rate: float = RATE, loss: float = 0.0) -> None:
        """All lines: milliseconds each way, bits a second, share of packets lost. 0 ms: as fast as it goes."""
        for source, target in permutations(NETWORKS, 2):
            self.line(source, target, delay=ms / 1000, rate=rate if ms else 0.0, loss=loss)

    def cut(self, a: str, b: str, *, one_way: bool = False, after: int = 0) -> None:
        """Nothing goes from ``a`` to ``b`` any more, nor back, unless ``one_way``. ``after``: cut, both ways, by itself when
        so many more bytes have gone from ``a`` to ``b``."""
        if after:
            self.line(a, b, left=after)
            self._changed_lines.add((b, a))
            return
        self.line(a, b, up=False)
        if not one_way:
            self.line(b, a, up=False)

    def unplug(self, host: str) -> None:
        """The host runs on, and nobody hears it."""
        self._unplugged.add(host)
        self._order("carrier", host=host, up=False)

    def drop(self, host: str, rule: str) -> None:
        """The host's own packet filter drops what matches, e.g. ``tcp dport 22``, coming in."""
        table = "table inet lab { chain input { type filter hook input priority -300; policy accept; }; }"
        self._filtered.add(host)
        self.on(host, "nft -f -", stdin=f"{table}\nadd rule inet lab input {rule} drop\n")

    def mend(self) -> None:
        """All lines up, without delay or loss; all cables in; the rules of ``drop`` gone. Hosts that are off stay off."""
        for source, target in sorted(self._changed_lines):
            self.line(source, target, up=True, left=None, delay=0.0, rate=0.0, loss=0.0)
        for name in self._unplugged:
            self._order("carrier", host=name, up=True)
        for name in self._filtered:
            if self.is_up(name):
                self.on(name, "nft delete table inet lab", check=False)
        for changed in (self._changed_lines, self._unplugged, self._filtered):
            changed.clear()

    def is_up(self, host: str) -> bool:
        """Whether the host's process 1 runs."""
        try:
            return bool(self._order("leader", host=host))
        except LabError:
            return False

    def traces(self) -> dict[str, Any]:
        """What this machine sees of the lab: the box's namespaces, the process that keeps it, and its cgroup."""
        namespaces = {kind: str(Path(f"/proc/{self._box}/ns/{kind}").readlink()) for kind in ("net", "mnt", "pid")}
        return {**namespaces, "keeper": self._sealed.pid, "group": str(sealed.group(self._sealed.pid))}

    def close(self) -> None:
        """Ends all of it, and waits until it is gone."""
        assert self._sealed.stdin is not None
        self._sealed.stdin.close()
        self._sealed.wait(60)


def _finish(
    argv: list[str], environment: dict[str, str], check: bool, timeout: float, stdin: str
) -> subprocess.CompletedProcess[str]:
    process = subprocess.Popen(
        argv,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(stdin, timeout)
    except subprocess.TimeoutExpired as error:
        os.killpg(process.pid, 9)
        out, err = process.communicate()
        raise LabError(f"{shlex.join(argv)}: not done after {timeout} s\n{out}\n{err}") from error
    if check and process.returncode:
        raise LabError(f"{shlex.join(argv)}: exit {process.returncode}\n{out}\n{err}")
    return subprocess.CompletedProcess(argv, process.returncode, out, err)
