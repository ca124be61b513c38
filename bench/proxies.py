"""Our mirror beside the Go registries as pull-through proxies, all before one upstream: a distribution behind a proxy
that counts. Clients and upstream are the same for all; each has a copy of its own to fill.

The line to the upstream is loopback, or one of a gigabit a second and 5 ms: a direct pull goes over the same line.
"""

from __future__ import annotations

import argparse
import http.client
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from os import urandom
from pathlib import Path

import httpx

from bench import load, transfers
from bench.content import ACCEPT, KIB, MIB, Content, Wanted, described, prepare, push
from bench.lines import Figures
from bench.peers import D2, D3, Peer, distribution, started, towpath
from bench.rounds import Record
from tests.nodes import SECRETS
from tests.upstreams.counting import CountingProxy
from tests.upstreams.faults import QUICK, too_many_untold
from tests.upstreams.holdings import OCI_MANIFEST
from tests.upstreams.lying import LyingUpstream, Plan

LAYERS, LAYER_MIB, JOINERS, FAULTY = 10, 4, 100, 1000
AT_ONCE = 3  # layers that docker and containerd fetch at once
GIGABIT, LATENCY = 125_000_000, 0.005
_REPOSITORY = "bench/pulled"
_TOLD = [each for each in QUICK if each is not too_many_untold]  # after that one a mirror waits for a minute


@dataclass(frozen=True)
class Pulled:
    """An image at the upstream. ``blobs``: digests of its config and layers."""

    repository: str
    tag: str
    blobs: tuple[str, ...]


def mirror(figures: Figures, folder: Path, given: argparse.Namespace) -> None:
    with distribution(folder / "upstream", D3) as upstream, CountingProxy(upstream.host) as line:
        _warm(figures, folder / "warm", upstream, line, given)
        for number in range(given.rounds):
            _cold(figures, folder / f"cold{number}", upstream, line)
    for number in range(given.rounds):
        _wrong(figures, folder / f"wrong{number}", seed=number)


@contextmanager
def proxies(
    folder: Path, remote: str, repositories: list[str], upstreams: list[dict[str, object]] | None = None
) -> Iterator[list[Peer]]:
    """Ours and the two others before ``remote``, each empty. ``upstreams``: how ours sees it, if not as one."""
    declared = {"upstreams": upstreams or [{"name": "upstream", "url": remote}]}
    starts = [
        partial(towpath, folder / "ours", repositories, kind="mirror", mirror=declared),
        partial(distribution, folder / "d3", D3, remote=remote),
        partial(distribution, folder / "d2", D2, remote=remote),
    ]
    with started(starts) as peers:
        yield peers


def _warm(figures: Figures, folder: Path, upstream: Peer, line: CountingProxy, given: argparse.Namespace) -> None:
    """Reads of what was asked for once before."""
    wanted = Wanted(repositories=50, tags=4, megabytes=given.megabytes)
    with upstream.client() as client:
        content = prepare(client, wanted)
    folder.mkdir()
    with proxies(folder, line.url, wanted.names) as peers:
        for peer in peers:
            _fill(peer, content)
        for _ in range(given.rounds):
            for peer in peers:
                _warm_reads(peer, folder, content, figures.of(peer.name), given.seconds)


def _fill(peer: Peer, content: Content) -> None:
    """The Go proxies store after they have answered: what is large is asked for until it is there."""
    with httpx.Client(base_url=peer.url, timeout=120, trust_env=False) as client:
        for path in (*content.manifests, *content.small_blobs):
            headers = {**peer.headers(path.removeprefix("/v2/").rsplit("/", 2)[0]), "accept": ACCEPT}
            client.get(path, headers=headers).raise_for_status()
    transfers.download(peer, content.large_blob, content.large_bytes)
    time.sleep(2)


def _warm_reads(peer: Peer, folder: Path, content: Content, record: Record, seconds: int) -> None:
    for connections in (16, 64):
        rate = load.gets(peer, folder, content.manifests, connections, seconds)
        record(f"mirror: warm manifest GET x{connections}", rate.rps)
    record("mirror: warm 64 KB blob GET x16", load.gets(peer, folder, content.small_blobs, 16, seconds).rps)
    for count in (1, 4):
        took = transfers.downloads(peer, content.large_blob, content.large_bytes, count)
        record(f"mirror: warm large blob GET x{count}", content.large_bytes * count / MIB / took)


def _cold(figures: Figures, folder: Path, upstream: Peer, line: CountingProxy) -> None:
    """Three new images: one for each kind of line, one for all who join at once."""
    folder.mkdir()
    with upstream.client() as client:
        fast, slow = (_image(client, f"{folder.name}-{kind}", LAYER_MIB * MIB) for kind in ("fast", "slow"))
        joined = _image(client, f"{folder.name}-joined", 256 * KIB)
    direct = Peer("direct", line.host, upstream.pid, upstream.blobs)
    with proxies(folder, line.url, [_REPOSITORY]) as peers:
        alone = _paced(line, lambda: pull(direct, slow))
        plain = pull(direct, fast)
        for peer in peers:
            record = figures.of(peer.name)
            took = _paced(line, partial(pull, peer, slow))
            record("mirror: cold pull, 10 layers, 1 Gbit/s", took)
            record("mirror: cold pull to the direct one, 1 Gbit/s", took / alone)
            took = pull(peer, fast)
            record("mirror: cold pull, 10 layers, loopback", took)
            record("mirror: cold pull to the direct one, loopback", took / plain)
            time.sleep(0.5)  # the Go proxies still store
            record("mirror: warm pull, 10 layers", pull(peer, fast))
            line.forget()
            _paced(line, partial(_joined, peer, joined))
            record("mirror: upstream GETs of an object, 100 cold joiners", max(line.objects().values()))


def _image(client: httpx.Client, tag: str, size: int) -> Pulled:
    """``size``: of each layer."""
    config, layers = json.dumps({"of": tag}).encode(), [urandom(size) for _ in range(LAYERS)]
    digests = tuple(push(client, _REPOSITORY, each) for each in (config, *layers))
    body = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": described(config, "application/vnd.oci.image.config.v1+json"),
        "layers": [described(each, "application/vnd.oci.image.layer.v1.tar+gzip") for each in layers],
    }
    path, headers = f"/v2/{_REPOSITORY}/manifests/{tag}", {"content-type": OCI_MANIFEST}
    client.put(path, content=json.dumps(body), headers=headers).raise_for_status()
    return Pulled(_REPOSITORY, tag, digests)


def _paced(line: CountingProxy, work: Callable[[], float]) -> float:
    line.bytes_per_second, line.delay = GIGABIT, LATENCY
    try:
        return work()
    finally:
        line.bytes_per_second, line.delay = None, 0.0


def _joined(peer: Peer, image: Pulled) -> float:
    began = time.perf_counter()
    with ThreadPoolExecutor(JOINERS) as threads:
        list(threads.map(lambda _: pull(peer, image, at_once=1), range(JOINERS)))
    return time.perf_counter() - began


def pull(peer: Peer, image: Pulled, *, at_once: int = AT_ONCE) -> float:
    """Seconds of one pull as the daemons do it: the manifest by tag, then all blobs, each checked."""
    began = time.perf_counter()
    status, _ = fetch(peer, f"/v2/{image.repository}/manifests/{image.tag}")
    if status != 200:
        raise SystemExit(f"bench: {peer.name} answered {status} to a manifest")
    with ThreadPoolExecutor(at_once) as threads:
        for digest, (status, found) in zip(
            image.blobs,
            threads.map(lambda each: fetch(peer, f"/v2/{image.repository}/blobs/{each}"), image.blobs),
            strict=True,
        ):
            if status != 200 or found != digest:
                raise SystemExit(f"bench: {peer.name} answered {status} and {found} to {digest}")
    return time.perf_counter() - began


def fetch(peer: Peer, path: str, *, patience: float = 60) -> tuple[int, str]:
    """Status and the digest of a body that came whole; status 0: it did not come whole."""
    repository = path.removeprefix("/v2/").rsplit("/", 2)[0]
    connection = http.client.HTTPConnection(peer.host, timeout=patience)
    hasher, buffer = sha256(), bytearray(256 * KIB)
    try:
        connection.request("GET", path, headers={"Accept": ACCEPT, **peer.headers(repository)})
        answer = connection.getresponse()
        while count := answer.readinto(buffer):
            hasher.update(memoryview(buffer)[:count])
        whole = not answer.length  # what is still missing of the length that was told
        return (answer.status if whole else 0), f"sha256:{hasher.hexdigest()}"
    except (OSError, http.client.HTTPException):
        return 0, ""
    finally:
        connection.close()


def _wrong(figures: Figures, folder: Path, seed: int) -> None:
    """Each asks a lying upstream for blobs until a thousand answers were faulty: what came whole and is wrong. Ours has
    an upstream for each repository, else its circuit would keep it from being lied to."""
    folder.mkdir()
    with LyingUpstream() as upstream:
        names = [f"lies/r{number}" for number in range(200)]
        upstreams = [{"name": f"u{at}", "url": upstream.url, "repositories": [name]} for at, name in enumerate(names)]
        images = [upstream.holdings.image(name, *(urandom(96 * KIB) for _ in range(5))) for name in names]
        paths = [(f"/v2/{image.repository}/blobs/{digest}", digest) for image in images for digest in image.blobs]
        with proxies(folder, upstream.url, names, upstreams) as peers:
            for peer in peers:
                upstream.plan = Plan(seed, share=0.7, slow=0, among=_TOLD)
                wrong = _lied_to(peer, paths, upstream.plan)
                if upstream.plan.done.total() < FAULTY:
                    print(f"{peer.name}: {upstream.plan.done.total()} faulty answers, wanted {FAULTY}", flush=True)
                figures.record("mirror: wrong bodies served, 1,000 faulty answers", peer.name, wrong)


def _lied_to(peer: Peer, paths: list[tuple[str, str]], plan: Plan) -> int:
    """Wrong bodies; eight clients ask for all, again and again for at most a minute."""
    end = time.monotonic() + 60

    def wrong(asked: tuple[str, str]) -> bool:
        if plan.done.total() >= FAULTY or time.monotonic() > end:
            return False
        status, found = fetch(peer, asked[0], patience=3)
        return status == 200 and found != asked[1]

    with ThreadPoolExecutor(8) as threads:
        return sum(threads.map(wrong, paths * 30))


def virtual(figures: Figures, folder: Path, given: argparse.Namespace) -> None:
    """A virtual over two members of this host; what is asked for lies in the second."""
    wanted = Wanted(repositories=200, tags=10, megabytes=1)
    with (
        towpath(folder / "first", []) as first,
        towpath(folder / "second", wanted.names) as second,
        _over(folder / "virtual", {"first": first, "second": second}, wanted.names) as both,
    ):
        with second.client() as client:
            content = prepare(client, wanted)
        record = figures.of(both.name)
        for _ in range(given.rounds):
            for what, paths in (("manifest", content.manifests), ("64 KB blob", content.small_blobs)):
                plain = load.gets(second, folder, paths, 16, given.seconds).rps
                through = load.gets(both, folder, paths, 16, given.seconds).rps
                record(f"virtual: {what} GET x16, time to the member's", plain / through)


@contextmanager
def _over(folder: Path, members: dict[str, Peer], repositories: list[str]) -> Iterator[Peer]:
    secret = folder.parent / "engine.secret"
    secret.touch(mode=0o600)
    secret.write_text(f"towpath-engine:{SECRETS['towpath-engine']}")
    declared = [
        {"name": name, "kind": "local", "url": peer.url, "data": str(folder.parent / name / "data")}
        | {"credentials": {"file": str(secret)}}
        for name, peer in members.items()
    ]
    with towpath(folder, repositories, kind="virtual", virtual={"members": declared, "unmatched": "members"}) as peer:
        yield peer
