"""A test in Linux namespaces of its own: an /etc that it may write, and a network where it is alone.

@apart()                        # own /etc: a copy of this machine's
@apart(network=True)            # and no network but a loopback device, with addresses as the test likes
def test_...(...):

The test runs in a thread that has left the others' namespaces; what it starts is born there, and when it ends they are
gone. Fixtures run outside. Source: unshare(2), network_namespaces(7), mount_namespaces(7).
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ParamSpec

import pytest

from tests.tools import require

P = ParamSpec("P")
_MOUNTS, _NETWORK = 0x00020000, 0x40000000  # CLONE_NEWNS, CLONE_NEWNET (sched.h)


def apart(*, network: bool = False) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """Decorates a test. Where the machine does not allow it, the test is skipped with the reason."""

    def around(test: Callable[P, None]) -> Callable[P, None]:
        @wraps(test)
        def run(*args: P.args, **kwargs: P.kwargs) -> None:
            with TemporaryDirectory(prefix="tp-") as folder, ThreadPoolExecutor(1) as thread:
                thread.submit(_leave, Path(folder), network).result()
                thread.submit(test, *args, **kwargs).result()

        return run

    return around


def _leave(folder: Path, network: bool) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_MOUNTS | (_NETWORK if network else 0)):
        pytest.skip(f"no namespaces for this user: {os.strerror(ctypes.get_errno())}")
    _run("mount", "--make-rprivate", "/")
    etc = folder / "etc"
    shutil.copytree("/etc", etc, symlinks=True)
    _run("mount", "--bind", str(etc), "/etc")
    if network:
        _run("ip", "link", "set", "lo", "up")


def own_address(address: str) -> None:
    """This network's machine answers at it."""
    _run("ip", "address", "add", f"{address}/32", "dev", "lo")


def _run(program: str, *words: str) -> None:
    done = subprocess.run([require(program), *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{program} {' '.join(words)}: {done.stderr}"
