"""Upload sessions of the member that takes pushes, under ids that hold for one caller and one repository.

The member knows all of them as sessions of one robot, this node's; so the id that a client gets is the member's own
(of a URL on that member only what follows the known part: addresses are nobody's business) with a keyed hash over it,
the caller and the repository. Nothing has to be remembered: it outlives a restart.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
from contextlib import suppress
from pathlib import Path

from oci_wire.errors import BlobUploadUnknown
from oci_wire.registry import Call

_MARK = 16  # bytes
KEY_BYTES = 32


def load_or_create_key(path: Path) -> bytes:
    """The node's own key for these ids, made on first use, for its owner alone. Raises OSError, ValueError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(FileExistsError):
        _create(path)
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise ValueError(f"{path}: this is no key of {KEY_BYTES} bytes; remove it, and open uploads begin anew")
    return key


def _create(path: Path) -> None:
    """Whole or not at all: written beside, then linked. Raises FileExistsError."""
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    file = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(file, os.urandom(KEY_BYTES))
        os.fsync(file)
        os.link(beside, path)
    finally:
        os.close(file)
        beside.unlink()


class Sessions:
    """``member``: who takes pushes now; ids of another one are unknown. ``names``: where its repositories' URLs begin."""

    def __init__(self, key: bytes, member: str, names: str = "") -> None:
        self._key, self._member, self._names = key, member, names

    def shown(self, call: Call, repository: str, session: str) -> str:
        """The id that the client gets."""
        start = self._start(repository)
        content = (f"-{session.removeprefix(start)}" if start and session.startswith(start) else f"+{session}").encode()
        return base64.urlsafe_b64encode(self._mark(call, repository, content) + content).rstrip(b"=").decode()

    def of_member(self, call: Call, repository: str, shown: str) -> str:
        """The member's own. Raises BlobUploadUnknown for an id that is not ours, or another's."""
        try:
            content = base64.b64decode(shown.encode() + b"=" * (-len(shown) % 4), b"-_", validate=True)
            mark, session = content[:_MARK], content[_MARK:]
            if hmac.compare_digest(mark, self._mark(call, repository, session)):
                text = session.decode()
                return text[1:] if text[0] == "+" else self._start(repository) + text[1:]
        except (binascii.Error, ValueError):
            pass
        raise BlobUploadUnknown("this upload session is not here: it ended, or never was")

    def _start(self, repository: str) -> str:
        return f"{self._names}{repository}/blobs/uploads/" if self._names else ""

    def _mark(self, call: Call, repository: str, session: bytes) -> bytes:
        told = b"\0".join((self._member.encode(), call.identity.encode(), repository.encode(), session))
        return hashlib.blake2b(told, key=self._key, digest_size=_MARK).digest()
