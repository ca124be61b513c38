"""The read-only connection of several threads: each question sees the last commit, whatever another thread is asking."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

from registry_node.storage.reads import Looking

THREADS, COMMITS = 6, 400
LONG = "SELECT a.n FROM t a, t b, t c, t d WHERE a.n >= 0"  # several steps, so other threads come in between


def test_no_question_sees_what_was_replaced_before_it_was_asked(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    ended, stale = threading.Event(), []
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("PRAGMA journal_mode = wal")
        writer.execute("PRAGMA synchronous = off")
        writer.execute("CREATE TABLE t (n INTEGER)")
        writer.executemany("INSERT INTO t VALUES (?)", [(0,)] * 4)
        with closing(Looking(path)) as looking:
            committed = [0]

            def ask() -> None:
                while not ended.is_set():
                    before = committed[0]
                    if (found := looking.rows(LONG)[0][0]) < before:
                        stale.append((before, found))

            threads = [threading.Thread(target=ask) for _ in range(THREADS)]
            for each in threads:
                each.start()
            for number in range(1, COMMITS):
                writer.execute("UPDATE t SET n = ?", (number,))
                committed[0] = number
            ended.set()
            for each in threads:
                each.join()
    assert stale == []
