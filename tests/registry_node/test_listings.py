from __future__ import annotations

import httpx
import pytest

from registry_node.exchange import MAX_PAGE
from tests.registry_node.images import image, push_blob, push_image


def link(answer: httpx.Response) -> str:
    assert answer.headers["link"].endswith('; rel="next"')
    return str(answer.headers["link"].partition(">")[0].lstrip("<"))


async def test_tags_in_pages(http: httpx.AsyncClient) -> None:
    tags = sorted(f"v{n}" for n in range(7))
    for tag in tags:
        await push_image(http, "apps/api", tag)
    everything = await http.get("/v2/apps/api/tags/list")
    assert everything.json() == {"name": "apps/api", "tags": tags}
    assert "link" not in everything.headers
    seen: list[str] = []
    page = await http.get("/v2/apps/api/tags/list", params={"n": 3})
    for _ in range(5):
        seen += page.json()["tags"]
        if "link" not in page.headers:
            break
        page = await http.get(link(page))
    assert seen == tags
    rest = await http.get("/v2/apps/api/tags/list", params={"last": "v4"})
    assert rest.json()["tags"] == ["v5", "v6"]
    between = await http.get("/v2/apps/api/tags/list", params={"last": "v4x", "n": 1})
    assert between.json()["tags"] == ["v5"]


async def test_none_at_all(http: httpx.AsyncClient) -> None:
    await push_image(http, "apps/api", "v1")
    for path in ("/v2/apps/api/tags/list", "/v2/_catalog"):
        answer = await http.get(path, params={"n": 0})
        assert answer.status_code == 200
        assert "link" not in answer.headers
        assert [] in answer.json().values()


@pytest.mark.attack("A-huge-n")
@pytest.mark.parametrize("n", ["1000000000", "9" * 5000])
async def test_a_huge_n_is_cut_to_a_page(http: httpx.AsyncClient, n: str) -> None:
    """CVE-2023-2253: a listing must not allocate for what it is asked."""
    await push_image(http, "apps/api", "v1")
    answer = await http.get("/v2/apps/api/tags/list", params={"n": n})
    assert answer.json()["tags"] == ["v1"]
    assert MAX_PAGE < 10**9


@pytest.mark.parametrize("n", ["-1", "x", "1.5", "", "٣"])
async def test_an_n_that_is_no_number(http: httpx.AsyncClient, n: str) -> None:
    for path in ("/v2/apps/api/tags/list", "/v2/_catalog"):
        await push_blob(http, "apps/api", b"{}")
        answer = await http.get(path, params={"n": n})
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, "REQUEST_INVALID")


async def test_referrers_in_pages(http: httpx.AsyncClient, registry) -> None:  # type: ignore[no-untyped-def]
    registry._page_size = 2
    from oci_wire.digest import Digest
    from oci_wire.manifest import OCI_MANIFEST
    from tests.registry_node.images import descriptor

    subject = descriptor(await push_image(http, "apps/api", "v1"), OCI_MANIFEST)
    for n in range(5):
        body = image(subject=subject, artifactType="application/x", annotations={"n": str(n)})
        url, kind = f"/v2/apps/api/manifests/{Digest.of(body)}", {"content-type": OCI_MANIFEST}
        assert (await http.put(url, content=body, headers=kind)).status_code == 201
    seen: list[str] = []
    page = await http.get(f"/v2/apps/api/referrers/{subject['digest']}", params={"artifactType": "application/x"})
    for _ in range(5):
        seen += [each["annotations"]["n"] for each in page.json()["manifests"]]
        if "link" not in page.headers:
            break
        page = await http.get(link(page))
    assert sorted(seen) == list("01234")
