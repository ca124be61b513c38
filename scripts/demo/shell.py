"""Commands as a person would type them: printed with a ``$``, run, and their exit status checked."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, NoReturn

# Each command is a process of its own, forked from this one: what they all import is loaded once.
import towpath.engine
import towpath.flow
import towpath.images
import towpath.operate  # noqa: F401
from towpath.main import main

DIM, BOLD, OFF = (
    ("\x1b[2m", "\x1b[1m", "\x1b[0m") if sys.stdout.isatty() and not os.environ.get("NO_COLOR") else ("",) * 3
)


class StoryBroken(Exception):
    """A step of the story did not end as it must."""


@dataclass
class Shell:
    """Runs ``towpath`` in one folder."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def towpath(self, *words: str, secret: Path | None = None, expect: int = 0) -> str:
        """Runs one command; what it said is printed and returned. ``secret``: a file that goes into the environment
        as TOWPATH_TOKEN, never onto the command line. Raises StoryBroken for another exit status."""
        shown = f"TOWPATH_TOKEN=$(cat {_relative(secret, self.folder)}) " if secret else ""
        say(f"{BOLD}$ {shown}towpath {shlex.join(words)}{OFF}")
        extra = {"TOWPATH_TOKEN": secret.read_text().strip()} if secret else {}
        ended = self._run(words, extra)
        for line in ended.said.rstrip().splitlines():
            say(f"  {line}")
        if expect:
            say(f"  {DIM}(exit {ended.returncode}){OFF}")
        if ended.returncode != expect:
            moved = "; PORT_SHIFT=1000 make demo takes other ports" if "error[port-in-use]" in ended.said else ""
            raise StoryBroken(f"towpath {words[0]} ended with {ended.returncode}, not {expect}{moved}")
        return ended.said

    def quietly(self, *words: str) -> None:
        """Runs a command that is no part of the story; how it ends does not matter."""
        self._run(words, {})

    def _run(self, words: Sequence[str], extra: Mapping[str, str]) -> Ended:
        with tempfile.TemporaryFile() as said:
            sys.stdout.flush()
            child = os.fork()
            if child == 0:
                _become(words, self.folder, {**self.environment, **extra}, said.fileno())
            return Ended(_ended(child), _text(said))


@dataclass(frozen=True)
class Ended:
    """How a command ended and what it said, data and talk in the order in which they came."""

    returncode: int
    said: str


def _ended(child: int) -> int:
    """Its exit status. An interruption is handed on, and the command ends in good order before the story does."""
    try:
        _, status = os.waitpid(child, 0)
    except KeyboardInterrupt:
        os.kill(child, signal.SIGINT)
        os.waitpid(child, 0)
        raise
    return os.waitstatus_to_exitcode(status)


def _become(words: Sequence[str], folder: Path, environment: Mapping[str, str], said: int) -> NoReturn:
    """In the child: the command itself, as the console script runs it. In a process group of its own, so that a
    terminal's Ctrl-C reaches the story alone."""
    status = 1
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.setpgid(0, 0)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(said, 1)
        os.dup2(said, 2)
        os.chdir(folder)
        os.environ.update(environment)
        main(words)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def _relative(path: Path, folder: Path) -> Path:
    return path.relative_to(folder) if path.is_relative_to(folder) else path


def say(text: str = "") -> None:
    print(text, flush=True)


def title(number: int, text: str) -> None:
    say(f"\n{BOLD}{number}. {text}{OFF}")


def check(true: bool, what: str) -> None:
    """An assertion of the story, told as it is made. Raises StoryBroken."""
    if not true:
        raise StoryBroken(f"not so: {what}")
    say(f"  ✓ {what}")
