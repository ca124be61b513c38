"""Every request is counted, logged in a line that is JSON, and has an id of its own; whichever way it was answered."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from registry_node import build
from registry_node.app import App
from registry_node.metrics import SECONDS, Kind, Metrics, RequestLog, Tally
from registry_node.records import Records, logged_as, new_request_id
from registry_node.registries.local import LocalRegistry
from tests.registry_node.conftest import DEV, asking, settings
from tests.registry_node.images import push_image
from tests.registry_node.test_app import AUTH, raw

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
async def node(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """An app with log and short way, and what reads the log's new lines."""
    given = settings(tmp_path)
    with closing(LocalRegistry.open(given.data)) as registry:
        app = build.app_of(given, registry, reads=registry.reads)
        async with asking(app, DEV) as http:
            await push_image(http, "public/api", "1.0", b"layer")

        def lines() -> list[dict[str, Any]]:
            assert app.log is not None
            app.log.flush()
            return [json.loads(each) for each in capsys.readouterr().err.splitlines()]

        lines()
        yield app, lines


def samples(app: App) -> dict[tuple[str, str, str, str], float]:
    """(name, method, handler, code) -> value."""
    kind, text = app.metrics.render()
    assert kind.startswith("text/plain")
    return {
        (each.name, *(each.labels.get(name, "") for name in ("method", "handler", "code"))): each.value
        for family in text_string_to_metric_families(text.decode())
        for each in family.samples
        if "le" not in each.labels
    }


async def test_counts_and_lines_are_what_was_served(node: tuple[App, Lines]) -> None:
    app, lines = node
    before, asked = samples(app), Counter[tuple[str, str, int]]()
    sent = 0
    for method, path, handler in [
        *[("GET", b"/v2/public/api/manifests/1.0", "manifest")] * 5,
        *[("HEAD", b"/v2/public/api/manifests/1.0", "manifest")] * 3,
        *[("GET", b"/v2/public/api/manifests/none", "manifest")] * 2,
        ("GET", b"/v2/public/api/tags/list", "tags"),
        ("GET", b"/v2/", "base"),
        ("BREW", b"/v2/", "base"),
    ]:
        status, _, body = await raw(app, method, path)
        asked[method if method != "BREW" else "other", handler, status] += 1
        sent += len(body)
    after = samples(app)
    logged = lines()
    assert Counter((each["method"], each["status"]) for each in logged) == Counter(
        {("GET", 200): 7, ("HEAD", 200): 3, ("GET", 404): 2, ("other", 405): 1}
    )
    assert sum(each["sent"] for each in logged) == sent
    for (method, handler, status), count in asked.items():
        key = ("registry_http_requests_total", method, handler, str(status))
        assert after[key] - before.get(key, 0) == count
    for method, handler in {key[:2] for key in asked}:
        key = ("registry_http_request_duration_seconds_count", method, handler, "")
        wanted = sum(count for each, count in asked.items() if each[:2] == (method, handler))
        assert after[key] - before.get(key, 0) == wanted
    size = ("registry_http_response_size_bytes_total", "", "", "")
    assert after[size] - before[size] == sent


async def test_both_ways_log_the_same_line_and_no_id_comes_twice(node: tuple[App, Lines]) -> None:
    app, lines = node
    path = b"/v2/public/api/manifests/1.0"
    for _ in range(50):
        await raw(app, "GET", path)
    await raw(app, "GET", path, [(b"host", b"box.test"), (b"authorization", AUTH), (b"x-new", b"1")])
    *short, long = lines()
    assert [list(each) for each in short] == [list(long)] * 50
    changing = ("time", "request_id", "ms")
    plain = [{name: value for name, value in each.items() if name not in changing} for each in (*short, long)]
    assert plain == plain[:1] * 51
    ids = {each["request_id"] for each in (*short, long)}
    assert len(ids) == 51
    assert all(re.fullmatch("[0-9a-f]{32}", each) for each in ids)
    assert abs(short[0]["time"] - long["time"]) < 60


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(method=st.text(), path=st.binary(max_size=2000), who=st.text(max_size=80), remote=st.text(max_size=50))
def test_a_line_of_the_short_way_is_json_whatever_was_asked(
    capsys: pytest.CaptureFixture[str], method: str, path: bytes, who: str, remote: str
) -> None:
    written: list[str] = []
    log = RequestLog()
    log.append = written.append  # type: ignore[method-assign] # no loop runs here
    records = Records(Metrics(), log)
    said = f'"who": {json.dumps(who)}, {logged_as(method, path.decode("latin-1"))}'
    request_id = records.add_prompt(records.tally(Kind("GET", "manifest", 200)), said, remote, 7, 0.0)
    (line,) = written
    assert line.endswith("\n") and line.count("\n") == 1 and line.isascii()
    read = json.loads(line)
    assert (read["request_id"], read["remote"], read["who"], read["sent"]) == (request_id, remote, who, 7)
    assert (read["method"], read["path"]) == (method, path.decode("latin-1")[:1000])


@given(path=st.binary(max_size=60).filter(lambda path: b"?" not in path))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=50)
async def test_any_path_is_one_line_of_json(node: tuple[App, Lines], path: bytes) -> None:
    app, lines = node
    await raw(app, "GET", b"/v2/" + path)
    (line,) = lines()
    assert line["path"] == (b"/v2/" + path).decode("latin-1")


def test_ids_are_unique() -> None:
    assert len({new_request_id() for _ in range(100_000)}) == 100_000


def test_a_forked_process_has_ids_of_its_own() -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, new_request_id().encode())
        os._exit(0)
    os.waitpid(child, 0)
    ours = new_request_id()
    theirs = os.read(reading, 100).decode()
    os.close(reading)
    os.close(writing)
    assert len(theirs) == len(ours) == 32
    assert theirs[:16] != ours[:16]


@given(st.lists(st.floats(0, 1000), min_size=1))
def test_a_tally_is_a_histogram(times: list[float]) -> None:
    metrics = Metrics()
    tally = metrics.tally(Kind("GET", "manifest", 200))
    for seconds in times:
        tally.add(seconds, 3, 2)
    text = metrics.render()[1].decode()
    found = {
        (each.name, each.labels.get("le")): each.value
        for family in text_string_to_metric_families(text)
        for each in family.samples
    }
    name = "registry_http_request_duration_seconds"
    for bound in SECONDS:
        assert found[f"{name}_bucket", str(bound)] == sum(seconds <= bound for seconds in times)
    assert found[f"{name}_bucket", "+Inf"] == found[f"{name}_count", None] == len(times)
    assert found[f"{name}_sum", None] == pytest.approx(sum(times))
    assert found["registry_http_response_size_bytes_total", None] == 3 * len(times)
    assert found["registry_http_request_size_bytes_total", None] == 2 * len(times)


def test_what_never_happened_is_not_shown() -> None:
    metrics = Metrics()
    metrics.tally(Kind("GET", "manifest", 200))
    assert "manifest" not in metrics.render()[1].decode()
    assert Tally().count == 0
