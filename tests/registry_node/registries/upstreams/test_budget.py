"""The budget of an upstream: what is left is counted, told, kept for what is in no cache, and not forgotten."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oci_wire.errors import UpstreamFailed
from oci_wire.registry import Call
from registry_node.registries.upstreams import Upstreams
from registry_node.registries.upstreams.budget import Allowance
from registry_node.settings.mirror import Mirror
from tests.registry_node.registries.upstreams.conftest import Over, of_hub
from tests.upstreams.hub import FakeHub

CALL = Call("tests")


async def test_it_is_learned_from_the_hub_and_its_end_is_kept_for_what_is_in_no_cache(over: Over) -> None:
    with FakeHub(budget=3) as hub:
        hub.image("alpine", b"layer")
        upstreams = over(of_hub(hub))
        await upstreams.resolve(CALL, "alpine", "latest")
        assert (upstreams.status()[0].budget_left, upstreams.status()[0].budget_limit) == (3, 3)
        for _ in range(2):
            await upstreams.get_manifest(CALL, "alpine", "latest", refresh=True)
        assert upstreams.status()[0].budget_left == 1
        with pytest.raises(UpstreamFailed) as kept:
            await upstreams.get_manifest(CALL, "alpine", "latest", refresh=True)
        assert kept.value.reason == "budget"
        await upstreams.get_manifest(CALL, "alpine", "latest")
        asked = len(hub.registry.seen)
        with pytest.raises(UpstreamFailed) as spent:
            await upstreams.get_manifest(CALL, "alpine", "latest")
        assert (spent.value.reason, spent.value.status) == ("limited", 503)
        assert len(hub.registry.seen) == asked
        await upstreams.resolve(CALL, "alpine", "latest")  # a HEAD is free


async def test_a_429_closes_it_until_the_hub_said_and_a_restart_does_not_forget(tmp_path: Path) -> None:
    with FakeHub(budget=0, retry_after=1800) as hub:
        hub.image("alpine", b"layer")
        settings = Mirror.model_validate({"upstreams": [of_hub(hub)]})
        first = Upstreams.of(settings, tmp_path)
        with pytest.raises(UpstreamFailed) as refused:
            await first.get_manifest(CALL, "alpine", "latest")
        assert (refused.value.reason, refused.value.retry_after) == ("limited", 1800)
        await first.aclose()
        asked = len(hub.registry.seen)
        second = Upstreams.of(settings, tmp_path)
        with pytest.raises(UpstreamFailed) as still:
            await second.get_manifest(CALL, "alpine", "latest")
        assert still.value.retry_after is not None and 1700 < still.value.retry_after <= 1800
        assert len(hub.registry.seen) == asked
        assert second.status()[0].circuit == "closed"  # blobs are still to be had
        await second.aclose()


@pytest.mark.parametrize("content", ["", "[]", "{", '{"hub http://x": 3}', '{"hub": {"left": true}}'])
async def test_a_spoilt_file_begins_anew(tmp_path: Path, content: str, hub: FakeHub) -> None:
    (tmp_path / "upstreams.json").write_text(content)
    upstreams = Upstreams.of(Mirror.model_validate({"upstreams": [of_hub(hub)]}), tmp_path)
    assert upstreams.status()[0].budget_left is None
    await upstreams.aclose()


steps = st.lists(
    st.one_of(
        st.tuples(st.just("spent"), st.floats(0, 50)),
        st.tuples(st.just("told"), st.integers(0, 20)),
        st.tuples(st.just("refused"), st.one_of(st.none(), st.floats(0, 1e6))),
        st.tuples(st.just("later"), st.floats(0, 500)),
    ),
    max_size=30,
)


@given(steps)
def test_whatever_happens_it_counts_between_nothing_and_the_limit_and_opens_again(
    taken: list[tuple[str, float | None]],
) -> None:
    now, kept = time.time(), Allowance.declared(20, 300)
    for what, value in taken:
        if what == "later":
            now += value or 0
        elif what == "told":
            kept = kept.learned({"ratelimit-limit": "20;w=300", "ratelimit-remaining": f"{value};w=300"}, now)
            assert kept.remaining(now) == value
        elif what == "refused":
            kept = kept.refused(now, value)
            assert kept.wait(now) > 0
        else:
            kept = kept.spent(now)
        left = kept.remaining(now)
        assert left is not None and 0 <= left <= 20
        assert kept.wait(now, head=True) == 0
    assert kept.wait(now + 24 * 3600 + 1) == 0
