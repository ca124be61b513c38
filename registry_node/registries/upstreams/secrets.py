"""As whom an upstream is asked: ``user:password`` from a file or a variable, read when it is needed.

A file that was changed is taken as it is now, without a restart. Nothing of it shows in errors."""

from __future__ import annotations

import os
from pathlib import Path

from oci_wire.client import Credentials
from oci_wire.errors import Unavailable
from registry_node.settings.mirror import Secret

MOST_BYTES = 64 * 1024


class CredentialsUnreadable(Unavailable):
    """The declared file or variable holds no ``user:password``."""


class Credential:
    """Calling it gives those of now. Raises CredentialsUnreadable."""

    def __init__(self, secret: Secret) -> None:
        self._secret = secret
        self._seen: tuple[int, int, int] | None = None
        self._found = Credentials()

    def __call__(self) -> Credentials:
        if self._secret.file is not None:
            return self._from_file(self._secret.file)
        name = self._secret.env or ""
        text = os.environ.get(name)
        if text is None:
            raise CredentialsUnreadable(f"the variable {name} with the credentials is not set")
        return _read(text, f"the variable {name}")

    def _from_file(self, path: Path) -> Credentials:
        try:
            state = path.stat()
            mark = (state.st_ino, state.st_mtime_ns, state.st_size)
            if mark != self._seen:
                with path.open("rb") as file:
                    content = file.read(MOST_BYTES)
                self._found = _read(content.decode(), f"the file {path.name}")
                self._seen = mark
        except (OSError, UnicodeDecodeError) as error:
            raise CredentialsUnreadable(f"the file {path.name} with the credentials cannot be read") from error
        return self._found


def _read(text: str, where: str) -> Credentials:
    name, colon, password = text.strip("\r\n").partition(":")
    if not colon or not name or not password or "\n" in text.strip("\r\n"):
        raise CredentialsUnreadable(f"{where} does not hold one line `user:password`")
    return Credentials(name, password)
