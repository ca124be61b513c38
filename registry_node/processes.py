"""Several worker processes for one node: one listening socket, one data folder, one parent that watches over them.

The parent prepares the folder, binds the port, forks the workers and waits. It has no thread, no open index and no
event loop, so that a fork copies nothing that is at work. A worker that dies is replaced; one that cannot even start,
or workers that keep dying, end the node with a message. When the parent itself is killed, its workers see the end of
a pipe and die with it: nobody is left behind with the port and the folder.

| to the parent | what happens |
|---|---|
| SIGTERM, SIGINT | all workers drain and end; a second one ends them at once |
| SIGHUP | goes to all workers |
| SIGCHLD | whoever died is buried and replaced |
"""

from __future__ import annotations

import asyncio
import gc
import os
import selectors
import signal
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NoReturn

from registry_node.metrics import write_line

_ENDING = (signal.SIGTERM, signal.SIGINT)
_HANDLED = (*_ENDING, signal.SIGHUP, signal.SIGCHLD)
_DEATHS, _DEATH_SECONDS = 10, 60.0  # more of them in that time: something is wrong that a new process will not mend
_PATIENCE = 10.0  # seconds beyond the drain, then SIGKILL


class WorkersFailed(Exception):
    """The workers cannot do their work; the message says what happened and what to do."""


@dataclass(frozen=True, slots=True)
class Lifeline:
    """What a worker has of its parent. ``slot``: its number, from 0; a replacement has that of the dead one."""

    slot: int
    _parent: int  # the reading end of a pipe that nobody writes to
    _ready: int

    def ready(self) -> None:
        """This worker answers from now on."""
        os.write(self._ready, bytes([self.slot]))

    def end_with_parent(self, listener: int) -> None:
        """Ends this process when its parent is gone; first of all its listening socket. Needs a running loop."""

        def end() -> NoReturn:
            os.close(listener)
            os._exit(1)

        asyncio.get_running_loop().add_reader(self._parent, end)


@dataclass(slots=True)
class _Worker:
    slot: int
    ready: bool = False
    replaces: bool = False


class Processes:
    """``work(lifeline)`` runs in each worker and returns when it has drained; it raises SystemExit for a start that
    was refused and explained. ``bury(process)`` runs in the parent for each worker that died."""

    def __init__(
        self, number: int, work: Callable[[Lifeline], None], bury: Callable[[int], None], drain_seconds: float
    ) -> None:
        self._number, self._work, self._bury = number, work, bury
        self._drain = drain_seconds
        self._workers: dict[int, _Worker] = {}
        self._deaths: deque[float] = deque(maxlen=_DEATHS)
        self._failure = ""
        self._kill_at: float | None = None
        self._all_ready: Callable[[], None] | None = None

    def run(self, all_ready: Callable[[], None]) -> None:
        """Until a signal ends it. ``all_ready`` is called once. Raises WorkersFailed."""
        self._all_ready = all_ready
        gc.freeze()  # what is loaded by now stays shared memory
        with self._pipes(), _wakened_by_signals() as (self._woken, self._wakening):
            for slot in range(self._number):
                self._start(_Worker(slot))
            with selectors.DefaultSelector() as selector:
                for end in (self._woken, self._is_ready):
                    selector.register(end, selectors.EVENT_READ)
                while self._workers:
                    self._wait(selector)
        if self._failure:
            raise WorkersFailed(self._failure)

    def _wait(self, selector: selectors.BaseSelector) -> None:
        left = None if self._kill_at is None else max(0.0, self._kill_at - time.monotonic())
        events = selector.select(left)
        for key, _ in events:
            for byte in os.read(key.fd, 4096):
                self._on_signal(byte) if key.fd == self._woken else self._on_ready(byte)
        if self._kill_at is not None and time.monotonic() >= self._kill_at:
            self._tell_all(signal.SIGKILL)

    def _on_signal(self, number: int) -> None:
        if number == signal.SIGCHLD:
            self._reap()
        elif number in _ENDING:
            self._end()
        else:
            self._tell_all(number)

    def _on_ready(self, slot: int) -> None:
        for worker in self._workers.values():
            worker.ready = worker.ready or worker.slot == slot
        if self._all_ready is not None and all(each.ready for each in self._workers.values()):
            self._all_ready()
            self._all_ready = None

    def _reap(self) -> None:
        while self._workers:
            process, status = os.waitpid(-1, os.WNOHANG)
            if process == 0:
                return
            worker = self._workers.pop(process, None)
            if worker is not None:
                self._bury(process)
                self._after(worker, process, os.waitstatus_to_exitcode(status))

    def _after(self, worker: _Worker, process: int, status: int) -> None:
        """What becomes of a dead worker's place."""
        if self._kill_at is not None:
            return
        write_line(level="error", event="process-died", slot=worker.slot, process=process, status=status)
        self._deaths.append(time.monotonic())
        if not worker.ready and not worker.replaces:
            self._fail(f"a worker process could not start ({_told(status)}); the lines before this one say why")
        elif len(self._deaths) == _DEATHS and self._deaths[-1] - self._deaths[0] < _DEATH_SECONDS:
            self._fail(
                f"{_DEATHS} worker processes died within {_DEATH_SECONDS:.0f} seconds, the last one with "
                f"{_told(status)}; see the lines before this one, the memory and the disk"
            )
        else:
            self._start(_Worker(worker.slot, replaces=True))

    def _fail(self, why: str) -> None:
        self._failure = why
        self._end()

    def _end(self) -> None:
        self._kill_at = self._kill_at or time.monotonic() + self._drain + _PATIENCE
        self._tell_all(signal.SIGTERM)

    def _tell_all(self, number: int) -> None:
        for process in self._workers:
            os.kill(process, number)

    def _start(self, worker: _Worker) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)
        process = os.fork()
        if process == 0:
            self._become(worker.slot)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED)
        self._workers[process] = worker

    def _become(self, slot: int) -> NoReturn:
        status = 1
        try:
            self._leave_the_parent_behind()
            self._work(Lifeline(slot, self._alive, self._tell_ready))
            status = 0
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else 1
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def _leave_the_parent_behind(self) -> None:
        os.setpgid(0, 0)  # a terminal's Ctrl-C is for the parent, which tells us once
        signal.set_wakeup_fd(-1)
        for number in _HANDLED:
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until somebody listens to it
        for end in (self._keep_alive, self._is_ready, self._woken, self._wakening):
            os.close(end)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED)

    @contextmanager
    def _pipes(self) -> Iterator[None]:
        self._alive, self._keep_alive = os.pipe()
        self._is_ready, self._tell_ready = os.pipe()
        try:
            yield
        finally:
            for end in (self._alive, self._keep_alive, self._is_ready, self._tell_ready):
                os.close(end)


def _told(status: int) -> str:
    return f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"


@contextmanager
def _wakened_by_signals() -> Iterator[tuple[int, int]]:
    """The ends of a pipe to which each signal writes its number."""
    woken, wakening = os.pipe()
    for end in (woken, wakening):
        os.set_blocking(end, False)
    before = {number: signal.signal(number, lambda *_: None) for number in _HANDLED}
    earlier = signal.set_wakeup_fd(wakening, warn_on_full_buffer=False)
    try:
        yield woken, wakening
    finally:
        signal.set_wakeup_fd(earlier)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(woken)
        os.close(wakening)
