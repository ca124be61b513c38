"""Many small requests: wrk, a C program, so that the client is not what is measured."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bench.content import ACCEPT
from bench.peers import Missing, Peer
from tests.tools import find

_SCRIPT = """
local n, at = 0, 0
local requests, tokens = {}, {}
for line in io.lines(os.getenv("BENCH_REQUESTS")) do
  local path, token = line:match("([^\\t]+)\\t(.*)")
  n = n + 1
  requests[n], tokens[n] = path, token
end
function init()
  for i = 1, n do
    local headers = {["Host"] = os.getenv("BENCH_HOST"), ["Accept"] = os.getenv("BENCH_ACCEPT")}
    if tokens[i] ~= "" then headers["Authorization"] = "Bearer " .. tokens[i] end
    requests[i] = wrk.format("GET", requests[i], headers)
  end
end
function request()
  at = at % n + 1
  return requests[at]
end
"""
_UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60000.0}


@dataclass(frozen=True)
class Rate:
    """``rps``: requests a second; ``p99``: milliseconds."""

    rps: float
    p99: float


def gets(peer: Peer, folder: Path, paths: list[str], connections: int, seconds: int) -> Rate:
    """GETs of these paths in a circle; every answer must be a 2xx."""
    program = find("wrk")
    if program is None:
        raise Missing("wrk is not installed (scripts/install-clients installs it)")
    (folder / "wrk.lua").write_text(_SCRIPT)
    (folder / "requests").write_text("".join(f"{path}\t{_token(peer, path)}\n" for path in paths))
    environment = {
        **os.environ,
        "BENCH_REQUESTS": str(folder / "requests"),
        "BENCH_HOST": peer.host,
        "BENCH_ACCEPT": ACCEPT,
    }
    command = [
        program,
        "-t1",
        f"-c{connections}",
        f"-d{seconds}s",
        "--latency",
        "-s",
        str(folder / "wrk.lua"),
        peer.url,
    ]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in said or re.search(r"Socket errors: connect [^0]|read [1-9]|timeout [1-9]", said):
        raise SystemExit(f"bench: {peer.name} answered with errors:\n{said}")
    return _read(said)


def _token(peer: Peer, path: str) -> str:
    repository = path.removeprefix("/v2/").rsplit("/", 2)[0]
    return peer.tokens.get(repository, "")


def _read(said: str) -> Rate:
    rps = re.search(r"Requests/sec:\s+([\d.]+)", said)
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s|m)", said)
    if rps is None or p99 is None:
        raise SystemExit(f"bench: wrk said something new:\n{said}")
    return Rate(float(rps[1]), float(p99[1]) * _UNITS[p99[2]])
