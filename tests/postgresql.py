"""A PostgreSQL server of our own for tests: Debian's programs, a folder of its own, a unix socket, no network.

with server() as cluster:
    dsn = cluster.database()          # a new, empty database each time
    cluster.restart()                 # connections break, as when somebody restarts it
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from tests.tools import require

_OPTIONS = ("-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=100", "-c", "shared_buffers=32MB")
# It refuses to run as root; Debian's package made this user.
_USER = {"user": "postgres", "group": "postgres", "extra_groups": ()} if os.getuid() == 0 else {}


class Cluster:
    """``folder``: its socket and its files. ``start``, ``kill`` and ``restart`` wait until it is so."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._programs = Path(require("postgres")).resolve().parent
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0

    def create(self) -> None:
        if _USER:
            shutil.chown(self.folder, "postgres", "postgres")
        command = [self._programs / "initdb", "-D", self._data, "-A", "trust", "-U", "towpath", "-E", "UTF8", "-N"]
        subprocess.run([*command, "--locale=C.UTF-8"], check=True, capture_output=True, cwd=self.folder, **_USER)

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self._data, "-k", self.folder, *_OPTIONS],
                stdout=log, stderr=log, cwd=self.folder, **_USER,
            )  # fmt: skip
        until = time.monotonic() + 60
        while True:
            try:
                psycopg.connect(self.dsn("postgres")).close()
                return
            except psycopg.OperationalError:
                assert self._process.poll() is None, (self.folder / "log").read_text()
                assert time.monotonic() < until, (self.folder / "log").read_text()
                time.sleep(0.05)

    def stop(self) -> None:
        """As an administrator who does not wait for anybody: connections break, transactions roll back."""
        assert self._process is not None
        self._process.send_signal(3)  # SIGQUIT: at once, as after a crash
        self._process.wait(60)

    def restart(self) -> None:
        self.stop()
        self.start()

    def dsn(self, database: str) -> str:
        return f"host={self.folder} user=towpath dbname={database}"

    def database(self) -> str:
        self._databases += 1
        name = f"test{self._databases}"
        with psycopg.connect(self.dsn("postgres"), autocommit=True) as db:
            db.execute(f"CREATE DATABASE {name}")
        return self.dsn(name)

    @property
    def _data(self) -> Path:
        return self.folder / "data"


@contextmanager
def server() -> Iterator[Cluster]:
    """Skips without PostgreSQL (``require``). A short path: a socket's may have 107 characters."""
    with tempfile.TemporaryDirectory(prefix="towpath-pg-", ignore_cleanup_errors=True) as folder:
        cluster = Cluster(Path(folder))
        cluster.create()
        cluster.start()
        try:
            yield cluster
        finally:
            cluster.stop()
