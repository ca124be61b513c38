"""Commands as a person would type them: printed with a ``$``, run, and their exit status checked."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

TOWPATH = Path(sys.executable).with_name("towpath")
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
        ended = self._run([str(TOWPATH), *words], extra)
        said = ended.stdout + ended.stderr
        for line in said.rstrip().splitlines():
            say(f"  {line}")
        if expect:
            say(f"  {DIM}(exit {ended.returncode}){OFF}")
        if ended.returncode != expect:
            raise StoryBroken(f"towpath {words[0]} ended with {ended.returncode}, not {expect}")
        return said

    def quietly(self, *words: str) -> None:
        """Runs a command that is no part of the story; how it ends does not matter."""
        self._run([str(TOWPATH), *words], {})

    def _run(self, command: Sequence[str], extra: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, **self.environment, **extra}
        return subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)


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
