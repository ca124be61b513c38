"""New settings for a running node: at SIGHUP, and within a second of a change of the settings file.

Users, groups, grants and rate limits change between two requests; no connection is dropped. A file that cannot be used,
or that changes what a node cannot change while it runs, is refused as a whole with a line in the log that names the
fields: what holds is always one file as somebody wrote it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from registry_node.metrics import write_line
from registry_node.settings import NodeSettings, SettingsInvalid, mark_of, parse, unchangeable


class SettingsFile:
    """The settings file of a running node. ``apply`` takes changed settings; ``mark`` names the content that holds."""

    def __init__(self, path: Path, settings: NodeSettings, apply: Callable[[NodeSettings], None]) -> None:
        self._path, self._settings, self._apply = path, settings, apply
        self._seen: tuple[int, ...] | None = None
        self.mark, self.refused = "", False

    def look(self) -> None:
        """Once a second: takes the file when it has changed, or was not read yet. Never raises."""
        if self._stamp() != self._seen:
            self.reload()

    def reload(self) -> None:
        """Takes the file. Never raises: what cannot be used is logged, and the old settings go on."""
        self._seen = self._stamp()  # before it is read: what is written meanwhile is seen the next time
        try:
            content = self._read()
            settings = self._usable(content)
        except SettingsInvalid as error:
            self.refused = True
            write_line(level="error", event="settings-refused", node=self._settings.node, problem=str(error))
            return
        self.refused = False
        changed = settings != self._settings
        if changed:
            self._apply(settings)
            self._settings = settings
        if self.mark or changed:  # not for the first look at what the node was started with
            said = {"users": len(settings.users), "grants": len(settings.grants), "changed": changed}
            write_line(level="info", event="settings", node=settings.node, **said)
        self.mark = mark_of(content)

    def _usable(self, content: bytes) -> NodeSettings:
        settings = parse(content, self._path)
        if fixed := unchangeable(self._settings, settings):
            raise SettingsInvalid(
                f"{self._path}: {', '.join(fixed)} cannot change while the node runs; restart it, or take that back. "
                "The settings that it has go on, all of them"
            )
        return settings

    def _read(self) -> bytes:
        try:
            return self._path.read_bytes()
        except OSError as error:
            raise SettingsInvalid(f"{self._path}: cannot be read: {error.strerror}") from None

    def _stamp(self) -> tuple[int, ...]:
        try:
            found = self._path.stat()
        except OSError:
            return ()
        return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
