"""A release: what a node runs, as one archive that needs nothing of the host but a Python of the same kind.

It is made of the distributions installed where ``apply`` runs, each file checked against its RECORD, and of our own
rooms that a node needs. Its name is a hash of what is in it, so the same inputs have the same name; the archive
(sorted, without times, owners or paths of this machine) is kept in the state folder and made once.
"""

from __future__ import annotations

import base64
import csv
import gzip
import hashlib
import io
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from sites.hosts import HostError
from sites.state import write_private

# What `python -m registry_node` imports; what these need comes along.
NEEDS = (
    *("uvloop", "httptools", "httpx", "pydantic", "sqlalchemy", "alembic"),
    *("joserfc", "bcrypt", "cryptography", "prometheus-client", "wcmatch"),
)
ROOMS = ("oci_wire", "identity", "registry_node")  # no command line: its edits make no new release
_FORMAT = "3"  # of the archive: a new one makes new releases
_COMPILERS = 4  # processes; the same number everywhere, or the same inputs have other bytes
_MEMBER, _LEVEL = 4 << 20, 3  # of gzip: 6 makes it a fifteenth smaller and takes more than twice as long
_LEFT_OUT = re.compile(
    r"(^|/)(__pycache__|tests?|testing)/|\.data/|\.(pyc|pyi|pyx|pxd|c|h|cpp|hpp)$"
    r"|\.dist-info/(RECORD|INSTALLER|REQUESTED|direct_url\.json|entry_points\.txt)$"
)
_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class Kind:
    """What must be alike where a release is made and where it runs."""

    python: str  # "3.11"
    machine: str  # "x86_64"
    system: str  # "Linux"

    def __str__(self) -> str:
        return f"Python {self.python} on {self.system} {self.machine}"


@dataclass(frozen=True, slots=True)
class Release:
    """``identity``: 16 hex digits of the hash of its content. ``archive``: a tar, gzipped, on this machine. ``manifest``:
    the hash of the MANIFEST in it, which lists every file as sha256sum(1) does."""

    identity: str
    version: str
    kind: Kind
    archive: Path
    manifest: str = ""


def here() -> Kind:
    return Kind(".".join(platform.python_version_tuple()[:2]), platform.machine(), platform.system())


def release(folder: Path) -> Release:
    """The release that this installation makes; its archive is in ``folder``. Raises HostError for an installation that
    is not whole."""
    files = dict(sorted((*_distributions(), *_rooms())))
    identity, version = _identity(files), metadata.version("towpath")
    archive, manifest = folder / f"{identity}.tar.gz", folder / f"{identity}.manifest"
    if not (archive.is_file() and manifest.is_file()):
        folder.mkdir(parents=True, exist_ok=True)
        _write(archive, manifest, files, version)
    return Release(identity, version, here(), archive, hashlib.sha256(manifest.read_bytes()).hexdigest())


def _identity(files: dict[str, Path]) -> str:
    digest = hashlib.sha256(json.dumps([_FORMAT, metadata.version("towpath"), str(here())]).encode())
    for name, path in files.items():
        digest.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()[:16]


def _rooms() -> Iterator[tuple[str, Path]]:
    """Our own modules and the files beside them."""
    for room in ROOMS:
        spec = find_spec(room)
        assert spec is not None and spec.submodule_search_locations
        top = Path(next(iter(spec.submodule_search_locations)))
        for path in top.rglob("*"):
            name = f"{room}/{path.relative_to(top).as_posix()}"
            if path.is_file() and not _LEFT_OUT.search(name):
                yield name, path


def _distributions() -> Iterator[tuple[str, Path]]:
    for distribution in _closure():
        for name, digest in _recorded(distribution):
            if name.startswith("../") or _LEFT_OUT.search(name):
                continue  # scripts, and what only a build or a test needs
            path = Path(str(distribution.locate_file(name)))
            _check(distribution, name, path, digest)
            yield name, path


def _closure() -> list[metadata.Distribution]:
    """Those in NEEDS and what they require; of conditional requirements those that are installed here."""
    found: dict[str, metadata.Distribution] = {}
    waiting = list(NEEDS)
    while waiting:
        name = _normal(waiting.pop())
        if name in found:
            continue
        try:
            found[name] = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            if name in map(_normal, NEEDS):
                raise _broken(f"{name} is not installed here", f"a release needs {', '.join(NEEDS)}") from None
            continue  # its marker does not hold here
        needed = (_NAME.match(each) for each in found[name].requires or () if "extra ==" not in each)
        waiting += [each[0] for each in needed if each]
    return [found[name] for name in sorted(found)]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _recorded(distribution: metadata.Distribution) -> Iterator[tuple[str, str]]:
    """Paths and their digests (``sha256=<base64url>``, "" for those without), as RECORD says (PEP 376, PEP 427)."""
    text = distribution.read_text("RECORD")
    if text is None:
        raise _broken(f"{distribution.name} has no RECORD", "it was not installed from a wheel")
    for row in csv.reader(io.StringIO(text)):
        if row:
            yield row[0], row[1]


def _check(distribution: metadata.Distribution, name: str, path: Path, digest: str) -> None:
    algorithm, _, expected = digest.partition("=")
    if not algorithm:
        return
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _broken(f"{name} of {distribution.name} cannot be read", str(error)) from None
    found = base64.urlsafe_b64encode(hashlib.new(algorithm, content).digest()).rstrip(b"=").decode()
    if found != expected:
        raise _broken(f"{name} of {distribution.name} is not the file that was installed", f"its {algorithm} differs")


def _broken(what: str, why: str) -> HostError:
    return HostError(
        "installation-broken", what, where=sys.prefix, why=why, next="install towpath here anew (make setup)"
    )


def _write(archive: Path, manifest: Path, files: dict[str, Path], version: str) -> None:
    with TemporaryDirectory() as scratch:
        top = Path(scratch)
        for name, path in files.items():
            target = top / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        described = top / f"towpath-{version}.dist-info" / "METADATA"
        described.parent.mkdir()
        described.write_text(f"Metadata-Version: 2.1\nName: towpath\nVersion: {version}\n")
        _compile(top)
        (top / "MANIFEST").write_text(_manifest(top))
        for target, content in ((manifest, (top / "MANIFEST").read_bytes()), (archive, _zipped(_tar(top)))):
            write_private(target, content)  # nobody looks into an archive again once it has its name


def _manifest(top: Path) -> str:
    """What lies there now, a line a file: ``sha256sum -c MANIFEST`` checks it by hand."""
    paths = sorted(each for each in top.rglob("*") if each.is_file())
    lines = (f"{hashlib.sha256(each.read_bytes()).hexdigest()}  {each.relative_to(top).as_posix()}\n" for each in paths)
    return "".join(lines)


def _compile(top: Path) -> None:
    """Compiled modules that are believed without a look at their source: nobody writes there."""
    modules = [str(each) for each in sorted(top.rglob("*.py"))]
    with ThreadPoolExecutor(_COMPILERS) as pool:
        list(pool.map(lambda number: _compile_some(top, modules[number::_COMPILERS]), range(_COMPILERS)))


def _compile_some(top: Path, modules: list[str]) -> None:
    """One process, in a fixed order: what it compiled before shows in the bytes of what it compiles."""
    words = [
        sys.executable,
        "-m",
        "compileall",
        "-q",
        "-s",
        str(top),
        "--invalidation-mode",
        "unchecked-hash",
        "-i",
        "-",
    ]
    environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": ""}
    # A template that ends in .py and is no Python stays as it is.
    subprocess.run(  # noqa: S603 - fixed words
        words, env=environment, check=False, stdout=subprocess.DEVNULL, input="\n".join(modules), text=True
    )


def _zipped(content: bytes) -> bytes:
    """Members of a fixed size one after the other, which are one gzip file (RFC 1952 section 2.2): all processors work."""
    pieces = (content[start : start + _MEMBER] for start in range(0, len(content), _MEMBER))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return b"".join(pool.map(lambda piece: gzip.compress(piece, compresslevel=_LEVEL, mtime=0), pieces))


def _tar(top: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(top.rglob("*")):
            entry = tarfile.TarInfo(str(PurePosixPath(path.relative_to(top))))
            entry.mode, entry.mtime = (0o755, 0) if path.is_dir() else (0o644, 0)
            if path.is_dir():
                entry.type = tarfile.DIRTYPE
                tar.addfile(entry)
            else:
                entry.size = path.stat().st_size
                with path.open("rb") as file:
                    tar.addfile(entry, file)
    return buffer.getvalue()
