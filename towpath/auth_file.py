"""The file in which clients keep their logins, and Kubernetes its pull secrets: ``{"auths": {HOST: {"auth": ...}}}``.

Sources: docs.docker.com (docker login, credential stores), containers-auth.json(5), kubernetes.io (pull an image from a
private registry).
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sites.state import write_private
from towpath.exits import Exit
from towpath.problem import Problem


@dataclass(frozen=True, slots=True)
class Login:
    """``authority``: HOST or HOST:PORT, as images name the registry."""

    authority: str
    user: str
    secret: str

    @property
    def entry(self) -> dict[str, str]:
        return {"auth": base64.b64encode(f"{self.user}:{self.secret}".encode()).decode()}

    def __repr__(self) -> str:  # the secret stays out of tracebacks
        return f"Login({self.authority!r}, {self.user!r})"


def docker_config(logins: Sequence[Login]) -> dict[str, Any]:
    """What stands in such a file: the value of a Kubernetes secret's ``.dockerconfigjson``."""
    return {"auths": {each.authority: each.entry for each in logins}}


def files_of_clients(environment: Mapping[str, str]) -> tuple[Path, ...]:
    """The files to write so that every client finds a login: docker's, which all others read as well; and podman's own,
    when it is there, since podman, buildah and skopeo look there first."""
    if named := environment.get("REGISTRY_AUTH_FILE"):
        return (Path(named),)
    home = Path(environment.get("HOME") or Path.home())
    docker = Path(environment.get("DOCKER_CONFIG") or home / ".docker") / "config.json"
    runtime = environment.get("XDG_RUNTIME_DIR") or f"/run/containers/{os.getuid()}"
    podman = Path(runtime) / ("containers/auth.json" if "XDG_RUNTIME_DIR" in environment else "auth.json")
    return (docker, podman) if podman.is_file() else (docker,)


def write_logins(path: Path, logins: Sequence[Login]) -> None:
    """Adds them; what else the file says stays. Raises Problem for a file that is not one, or that keeps its logins in a
    credential store: an entry beside that would not be read."""
    content = _read(path)
    store = content.get("credsStore") or next(
        (name for host, name in content.get("credHelpers", {}).items() if any(host == one.authority for one in logins)),
        None,
    )
    if store:
        raise Problem(
            "credential-store",
            f"{path} keeps logins in the credential store {store}",
            next=f"docker login {logins[0].authority}, or name another file with --auth-file",
            exit=Exit.USAGE,
        )
    content["auths"] = {**content.get("auths", {}), **docker_config(logins)["auths"]}
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(path, (json.dumps(content, indent=2) + "\n").encode())


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text() or "{}") if path.exists() else {}
        if isinstance(content, dict) and all(
            isinstance(content.get(each, {}), dict) for each in ("auths", "credHelpers")
        ):
            return content
        why = "it is no object with `auths`"
    except (OSError, ValueError) as error:
        why = str(error)
    raise Problem(
        "auth-file-unreadable",
        f"{path} is no file of logins; it was left as it is",
        why=why,
        next="correct or move it, or name another file with --auth-file",
        exit=Exit.USAGE,
    )
