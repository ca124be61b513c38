"""Registries of others as upstreams: distribution 3.1.2 and Debian's docker-registry 2.8.2, each as it can be configured."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bcrypt
import httpx

from tests.nodes import free_port
from tests.tools import require

D3, D2 = "registry", "docker-registry"  # the programs
BASE_PATH = "/artifactory/api/docker/images"


def htpasswd(folder: Path, users: dict[str, str]) -> dict[str, Any]:
    """Basic credentials for it."""
    file = folder / "htpasswd"
    lines = [f"{name}:{bcrypt.hashpw(secret.encode(), bcrypt.gensalt(5)).decode()}" for name, secret in users.items()]
    file.write_text("\n".join(lines) + "\n")
    return {"htpasswd": {"realm": "of others", "path": str(file)}}


@contextmanager
def registry(program: str, folder: Path, auth: dict[str, Any] | None = None) -> Iterator[str]:
    """A running one: host:port. ``auth``: that part of its configuration; None: open to everybody."""
    found, host = require(program), f"127.0.0.1:{free_port()}"
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "version": "0.1",
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
        "http": {"addr": host, "secret": "of-the-tests"},
        **({"auth": auth} if auth else {}),
    }
    config = folder / "config.yml"
    config.write_text(json.dumps(settings))  # JSON is YAML
    with _process([found, "serve", str(config)], folder / "log", f"http://{host}/v2/"):
        yield host


@contextmanager
def below(host: str, folder: Path) -> Iterator[str]:
    """nginx with the registry below BASE_PATH and nothing else, as Artifactory has its own: host:port."""
    nginx, own = require("nginx"), f"127.0.0.1:{free_port()}"
    folder.mkdir(parents=True, exist_ok=True)
    kept = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
    config = folder / "nginx.conf"
    config.write_text(
        f"daemon off; pid {folder}/pid; error_log stderr; worker_processes 1;\n"
        "events { worker_connections 256; }\n"
        "http { access_log off; " + " ".join(f"{each}_temp_path {folder}/{each};" for each in kept) + "\n"
        f"server {{ listen {own}; location / {{ return 404; }}\n"
        f"location {BASE_PATH}/ {{ proxy_pass http://{host}/; proxy_set_header Host $http_host; "
        "proxy_buffering off; } } }\n"
    )
    with _process([nginx, "-p", str(folder), "-c", str(config)], folder / "log", f"http://{own}{BASE_PATH}/v2/"):
        yield own


@contextmanager
def _process(command: list[str], log: Path, probe: str) -> Iterator[None]:
    """A program that is up once ``probe`` says 200 or 401."""
    environment = {**os.environ, "OTEL_TRACES_EXPORTER": "none"}
    with log.open("wb") as said:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=environment)
    try:
        until = time.monotonic() + 30
        while not _answers(probe):
            assert process.poll() is None and time.monotonic() < until, log.read_text()
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5, trust_env=False).status_code in (200, 401)
    except httpx.TransportError:
        return False
