"""Brings a host on: does a list of actions in order, stops at the first that fails, and says so as JSON on stdout.

Runs as root on the host, asked by one JSON object in the first line of stdin: {"lock": {...}, "actions": [{"do": ...},
...]}; behind it the archives that actions unpack, in their order, each as long as its action says. An answer a line:
{"done": number} ..., then {"failed": number, "error": text} when one did. Or {"verb": "take" | "give_back", ...}, for the
lock itself; then one line {"answer": {...}}. No action is done by one who does not hold the lock.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sites.on_host.archives import hear_out, release, went_silent
from sites.on_host.files import Refused, discard, empty, fresh_for, own, prune, remove, sweep, sync, sync_all, write

JOURNAL = "--namespace=+towpath"  # the nodes' own, and what systemd itself says of them
LOCK, FENCE, ALONE = Path("/var/lib/towpath/.lock"), Path("/var/lib/towpath/.fence"), Path("/run/towpath-change")
INDEX = "index.json"

NGINX = "nginx.service"


def user(name: str, home: str) -> None:
    if any(each.pw_name == name for each in pwd.getpwall()):
        return
    words = ("--system", "--user-group", "--home-dir", home, "--no-create-home", "--shell", "/usr/sbin/nologin")
    run("useradd", *words, name)


def directory(path: str, mode: int, owner: str, group: str) -> None:
    Path(path).mkdir(mode=mode, parents=True, exist_ok=True)
    own(Path(path), mode, owner, group)


def file(path: str, content: str, mode: int, owner: str, group: str, *, check: list[str] | None = None) -> None:
    """Whole or not at all, and never readable by others for a moment. ``check``: a command that must take it first."""
    fresh = fresh_for(path)
    write(fresh, base64.b64decode(content))
    try:
        if check:
            run(*check, str(fresh))
        own(fresh, mode, owner, group)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    sync(fresh.parent)


def link(path: str, target: str) -> None:
    fresh = fresh_for(path)
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    fresh.replace(path)
    sync(fresh.parent)


def keep(folder: str, paths: list[str], pending: str) -> None:
    """Copies what a change is about to replace, and notes what was not there. While ``pending`` stands, an earlier change
    is still on trial: what was kept for it is what there is to go back to, and what it did not touch is added."""
    if not os.path.lexists(pending):
        shutil.rmtree(folder, ignore_errors=True)
    Path(folder).mkdir(mode=0o700, parents=True, exist_ok=True)
    index = kept(folder)
    known = {each["path"] for each in index}
    for path in paths:
        if path not in known:
            there, own_copy = os.path.lexists(path), Path(folder, str(len(index)))
            own_copy.unlink(missing_ok=True)  # of a run that was cut here
            if there:
                copy(Path(path), own_copy)
            index.append({"path": path, "there": there})
    sync_all(Path(folder))
    fresh = fresh_for(str(Path(folder, INDEX)))
    write(fresh, json.dumps(index).encode())
    fresh.replace(Path(folder, INDEX))
    sync(Path(folder))


def kept(folder: str) -> list[dict[str, Any]]:
    """What ``keep`` noted there: where each lay, and whether there was anything; the copies are named by their number."""
    try:
        return list(json.loads(Path(folder, INDEX).read_text()))
    except FileNotFoundError:
        return []


def restore(folder: str, pending: str) -> None:
    """Puts back what ``keep`` copied. ``pending`` stands from before the first change: without it nothing was changed."""
    if not os.path.lexists(pending):
        return
    for number, each in enumerate(kept(folder)):
        fresh = fresh_for(each["path"])
        fresh.unlink(missing_ok=True)
        if each["there"]:
            copy(Path(folder, str(number)), fresh)
            fresh.replace(each["path"])
        else:
            remove(each["path"])
    for parent in {Path(each["path"]).parent for each in kept(folder)}:
        if parent.is_dir():
            sync_all(parent)


def copy(source: Path, target: Path) -> None:
    """With its owner and mode; a link as a link."""
    shutil.copy2(source, target, follow_symlinks=False)
    status = source.lstat()
    os.chown(target, status.st_uid, status.st_gid, follow_symlinks=False)


def unit(verb: str, name: str) -> None:
    if verb in ("start", "restart"):
        run("systemctl", "reset-failed", name, check=False)
    done = run("systemctl", verb, *(["--now"] if verb == "disable" else []), "--", name, check=False)
    if done.returncode:
        log = run("journalctl", JOURNAL, "--no-pager", "-o", "cat", "-n", "20", "-u", name, check=False).stdout
        raise Refused(f"systemctl {verb} {name}: {done.stderr.strip() or done.stdout.strip()}\n{log.strip()}")


def units() -> None:
    run("systemctl", "daemon-reload")


def drop_table(name: str) -> None:
    """Of the packet filter; once is enough."""
    if run("nft", "list", "table", "inet", name, check=False).returncode == 0:
        run("nft", "delete", "table", "inet", name)


def nginx(configuration: str, former: str, pending: str) -> None:
    """Runs on the files that lie there now. When it refuses them, what ``keep`` copied to ``former`` comes back; until it
    was told of them it serves on as before, and is not told anything else."""
    told = False
    try:
        check_nginx(configuration)
        unit("enable", NGINX)
        told = True
        unit("reload-or-restart", NGINX)
    except (Refused, OSError):
        if former:
            restore(former, pending)
        if former and told:
            run("systemctl", "try-reload-or-restart", NGINX, check=False)
        raise


def check_nginx(configuration: str) -> None:
    """Its own test (nginx -T tests and prints all that it reads). Of two servers with one name the later one would be
    passed over with a warning, and a file that nothing includes without one."""
    done = run("nginx", "-T")
    clash = next((line for line in done.stderr.splitlines() if "conflicting server name" in line), None)
    if clash:
        raise Refused(f"another file of nginx has a server of this name: {clash}")
    if Path(configuration).exists() and f"# configuration file {configuration}:" not in done.stdout:
        folder = Path(configuration).parent
        raise Refused(f"nginx does not read {configuration}: its http block lacks `include {folder}/*.conf;`")


def take(lock: dict[str, Any]) -> dict[str, Any]:
    """The lock with its fencing token, or the one that somebody else holds."""
    LOCK.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    held = lock_held()
    if held is not None and held.get("id") != lock["id"]:
        return {"held": held}
    token = 1
    with suppress(OSError, ValueError):
        token = int(FENCE.read_text()) + 1
    for path, text in ((FENCE, str(token)), (LOCK, json.dumps({**lock, "token": token}))):
        fresh = fresh_for(str(path))
        write(fresh, text.encode())
        fresh.replace(path)
    return {"token": token}


def give_back(id: str) -> dict[str, Any]:
    held = lock_held()
    if held is None:
        return {"free": True}
    if held.get("id") != id:
        return {"held": held}
    LOCK.unlink()
    return {"free": True}


def lock_held() -> dict[str, Any] | None:
    try:
        found = json.loads(LOCK.read_text())
    except FileNotFoundError:
        return None
    except ValueError:
        return {"id": "unreadable"}
    return found if isinstance(found, dict) else {"id": "unreadable"}


def check_lock(lock: dict[str, Any]) -> None:
    held = lock_held() or {}
    if (held.get("id"), held.get("token")) != (lock["id"], lock["token"]):
        owner = held.get("owner", "nobody")
        raise Refused(f"this run no longer holds the host's lock; {owner} does (lock {held.get('id', 'none')})")


def run(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(words, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)  # noqa: S603 - no shell
    if check and done.returncode:
        raise Refused(f"{' '.join(words)}: {done.stderr.strip() or done.stdout.strip() or done.returncode}")
    return done


_ACTIONS = (
    user,
    directory,
    file,
    link,
    release,
    remove,
    keep,
    restore,
    unit,
    units,
    drop_table,
    nginx,
    prune,
    discard,
    empty,
    sweep,
)
DOES: dict[str, Callable[..., None]] = {each.__name__: each for each in _ACTIONS}
LOCKING: dict[str, Callable[..., dict[str, Any]]] = {"take": take, "give_back": give_back}


def say(**told: Any) -> None:
    """The one who asked may be gone; what was begun goes on."""
    with suppress(OSError):
        print(json.dumps(told), flush=True)


@contextmanager
def alone() -> Iterator[None]:
    """One change of this host at a time, also when two come from one operator."""
    with ALONE.open("a") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield


def locking(verb: str, **told: Any) -> int:
    say(answer=LOCKING[verb](**told))
    return 0


def held_by_another(lock: dict[str, Any] | None = None, **_: Any) -> bool:
    """Asked before there is any waiting for what that one is doing here."""
    held = lock_held()
    if lock is None or held is None or held.get("id") == lock["id"]:
        return False
    say(answer={"held": held})
    return True


def change(lock: dict[str, Any], actions: list[dict[str, Any]]) -> int:
    for number, action in enumerate(actions):
        try:
            check_lock(lock)
            DOES[action["do"]](**{name: value for name, value in action.items() if name != "do"})
        except (Refused, OSError, LookupError, ValueError, TypeError, tarfile.TarError) as error:
            say(failed=number, error=str(error) or type(error).__name__)
            return 1
        say(done=number)
    return 0


def main() -> int:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a cut connection does not leave a host half changed
    signal.signal(signal.SIGALRM, went_silent)
    asked = json.loads(sys.stdin.buffer.readline())
    if asked.get("verb") == "take" and held_by_another(**asked):
        return 0
    with alone():
        status = locking(**asked) if "verb" in asked else change(**asked)
    hear_out()
    return status


if __name__ == "__main__":
    sys.exit(main())
