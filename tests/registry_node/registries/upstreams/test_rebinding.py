"""A running node whose upstream's name leads to another address than before, or than a moment ago (DNS rebinding): a real
name server, real TLS, in a network where the node is alone."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme

from tests.apart import apart, own_address
from tests.nodes import running
from tests.upstreams.holdings import Holdings, Image
from tests.upstreams.names import NameServer
from tests.upstreams.serving import Reply, Request, Server

pytestmark = [pytest.mark.slow, pytest.mark.clients, pytest.mark.timeout(120)]
REGISTRY, STORAGE = "registry.example", "storage.example"
PUBLIC = "93.184.215.14"
SPECIAL = ("10.9.8.7", "127.0.0.1", "169.254.169.254")
EVERYONE = [{"to": "everyone", "allow": ["pull"]}]


class Internet:
    """A public registry at ``PUBLIC``, a name server, and at ``special`` somebody of ours who
    must hear from nobody."""

    def __init__(self, folder: Path, stack: ExitStack, special: str) -> None:
        self.moved_blobs, self.holdings = False, Holdings()
        self._folder, self._special, self._turn = folder, special, cycle([[PUBLIC]])
        for each in (PUBLIC, *([] if special == "127.0.0.1" else [special])):
            own_address(each)
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(folder / "ca.crt"))
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(REGISTRY, STORAGE).configure_cert(tls)
        self.public = stack.enter_context(Server(self._answer, PUBLIC, 443, tls))
        self._ours = stack.enter_context(socket.create_server((special, 443)))
        stack.enter_context(NameServer(self._addresses))

    def leads_to(self, *answers: list[str]) -> None:
        """What the name of the registry means from here on, in turn."""
        self._turn = cycle(answers)

    def image(self, name: str) -> Image:
        return self.holdings.image(name, name.encode(), tags=("1",))

    def somebody_came(self) -> bool:
        """To the one of ours."""
        self._ours.setblocking(False)
        try:
            self._ours.accept()[0].close()
        except BlockingIOError:
            return False
        return True

    def remote(self, **more: Any) -> dict[str, Any]:
        return {"name": "outside", "url": f"https://{REGISTRY}", "ca": str(self._folder / "ca.crt"), **more}

    @contextmanager
    def mirror(self, **more: Any) -> Iterator[httpx.Client]:
        mirror = {"upstreams": [self.remote(**more)], "tag_seconds": 0, "negative_seconds": 0, "answer_seconds": 3}
        with self._asked(node="cache", kind="mirror", mirror=mirror) as http:
            yield http

    @contextmanager
    def virtual(self) -> Iterator[httpx.Client]:
        virtual = {"members": [self.remote(kind="remote")], "unmatched": "members"}
        with self._asked(node="all", kind="virtual", virtual=virtual) as http:
            yield http

    @contextmanager
    def _asked(self, **settings: Any) -> Iterator[httpx.Client]:
        accept = {"accept": "application/vnd.oci.image.manifest.v1+json"}
        with (
            running(self._folder / "node", grants=EVERYONE, **settings) as node,
            node.client(None, timeout=30, headers=accept) as http,
        ):
            yield http

    def _addresses(self, name: str) -> list[str]:
        return next(self._turn) if name == REGISTRY else [self._special] if name == STORAGE else []

    def _answer(self, request: Request) -> Reply:
        """Each connection serves one request, so that the name is asked for again and again."""
        if self.moved_blobs and "/blobs/" in request.path:
            return Reply(307, {"location": f"https://{STORAGE}{request.path}", "connection": "close"})
        return self.holdings.answer(request).with_headers(connection="close")


@contextmanager
def internet(folder: Path, special: str = SPECIAL[0]) -> Iterator[Internet]:
    with ExitStack() as stack:
        yield Internet(folder, stack, special)


def manifest(http: httpx.Client, name: str) -> httpx.Response:
    return http.get(f"/v2/{name}/manifests/1")


def reason(answer: httpx.Response) -> str:
    return str(answer.json()["errors"][0]["detail"]["reason"])


@pytest.mark.attack("A-upstream-addresses")
@pytest.mark.parametrize("special", SPECIAL)
@apart(network=True)
def test_a_name_that_leads_to_one_of_ours_later(tmp_path: Path, special: str) -> None:
    with internet(tmp_path, special) as outside, outside.mirror() as http:
        first, second = outside.image("apps/first"), outside.image("apps/second")
        assert manifest(http, "apps/first").content == first.content
        outside.leads_to([special])
        refused, stale = manifest(http, "apps/second"), manifest(http, "apps/first")
        assert (refused.status_code, reason(refused)) == (502, "private")
        assert special not in refused.text
        assert (stale.status_code, stale.content) == (200, first.content)
        assert "warning" in stale.headers
        assert not outside.somebody_came()
        assert [each.path for each in outside.public.seen if "second" in each.path] == []
        assert second.content not in refused.content


@pytest.mark.attack("A-upstream-addresses")
@apart(network=True)
def test_a_name_whose_answers_take_turns(tmp_path: Path) -> None:
    """What was looked up is what is connected to: a second look at the name would lead to one of ours."""
    with internet(tmp_path) as outside, outside.mirror() as http:
        outside.leads_to([PUBLIC], [SPECIAL[0]])
        answers = []
        for number in range(8):
            outside.image(f"apps/n{number}")
            answers.append(manifest(http, f"apps/n{number}"))
        assert {each.status_code for each in answers} <= {200, 502, 503}
        assert answers[0].status_code == 200
        assert "private" in [reason(each) for each in answers if each.status_code == 502]
        assert not outside.somebody_came()


@pytest.mark.attack("A-upstream-addresses")
@apart(network=True)
def test_one_of_ours_among_public_addresses_condemns_the_name(tmp_path: Path) -> None:
    with internet(tmp_path) as outside, outside.mirror() as http:
        outside.image("apps/first")
        outside.leads_to([PUBLIC, SPECIAL[0]])
        refused = manifest(http, "apps/first")
        assert (refused.status_code, reason(refused)) == (502, "private")
        assert not outside.somebody_came()
        assert outside.public.seen == []


@pytest.mark.attack("A-upstream-addresses")
@apart(network=True)
def test_content_that_is_said_to_lie_at_one_of_ours(tmp_path: Path) -> None:
    """By a redirect to a name, not to an address."""
    with internet(tmp_path) as outside, outside.mirror() as http:
        image = outside.image("apps/first")
        assert manifest(http, "apps/first").status_code == 200
        outside.moved_blobs = True
        for digest in image.blobs:
            refused = http.get(f"/v2/apps/first/blobs/{digest}")
            assert (refused.status_code, reason(refused)) == (502, "private")
        assert not outside.somebody_came()


@pytest.mark.attack("A-upstream-addresses")
@apart(network=True)
def test_a_member_of_a_virtual(tmp_path: Path) -> None:
    with internet(tmp_path) as outside, outside.virtual() as http:
        first = outside.image("apps/first")
        assert manifest(http, "apps/first").content == first.content
        outside.leads_to([SPECIAL[0]])
        refused = manifest(http, "apps/first")
        assert refused.status_code == 503
        assert "not connected to" in refused.text and SPECIAL[0] not in refused.text
        assert not outside.somebody_came()


@apart(network=True)
def test_one_of_ours_is_reached_where_that_is_declared(tmp_path: Path) -> None:
    """Else the tests above would prove nothing: nobody would come anyway."""
    with internet(tmp_path) as outside, outside.mirror(private=True) as http:
        outside.leads_to([SPECIAL[0]])
        assert manifest(http, "apps/first").status_code in (503, 504)
        assert outside.somebody_came()
