"""Any sequence of requests is answered by a node as by the in-memory twin: uploads of every kind, also wrong and
interleaved ones, mounts, tags, digests, deletions, listings, ranges, conditions, restarts.

``TOWPATH_EXAMPLES=500`` runs longer."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from oci_wire.digest import Digest
from oci_wire.manifest import OCI_INDEX, OCI_MANIFEST
from tests.registry_node.hostile.pair import FAST, Answer, Asked, InProcess, Process
from tests.registry_node.images import descriptor, image

EXAMPLES = int(os.environ.get("TOWPATH_EXAMPLES", "12"))
REPOSITORIES = ("a", "b/c")
ANY = (*REPOSITORIES, "never/written")
TAGS = ("fixed-1", "latest", "v1", "v2")
BLOBS = (b"{}", b"one", b"two" * 40_000)
_PLAIN = image(b"one")
MANIFESTS = (
    _PLAIN,
    image(b"one", BLOBS[2]),
    image(b"one", subject=descriptor(_PLAIN, OCI_MANIFEST), artifactType="application/x"),
    image(b"one", subject=descriptor(_PLAIN, OCI_MANIFEST), annotations={"a": "b"}),
    json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [descriptor(_PLAIN, OCI_MANIFEST)]}).encode(),
)
BROKEN = (b"", b"{", b"[]", b'{"schemaVersion": 1}', b'{"schemaVersion": 2, "schemaVersion": 2}', MANIFESTS[4] + b" x")
NOWHERE = f"sha256:{'0' * 64}"
RANGES = (
    "bytes=0-0",
    "bytes=1-",
    "bytes=-2",
    "bytes=5-2",
    "bytes=999999-",
    "bytes=0-9999999",
    "bytes=0-0,2-2",
    "x=1",
    "bytes=--1",
)
TYPES = (OCI_MANIFEST, OCI_INDEX, "application/json", "text/plain", "")

repositories, anywhere, tags = st.sampled_from(REPOSITORIES), st.sampled_from(ANY), st.sampled_from(TAGS)
blobs, manifests = st.sampled_from(BLOBS), st.sampled_from(MANIFESTS)
algorithms = st.sampled_from(("sha256", "sha256", "sha256", "sha512"))
digests = st.sampled_from([str(Digest.of(each)) for each in (*BLOBS, *MANIFESTS)] + [NOWHERE, "sha256:x", "md5:00"])
references = tags | digests | st.sampled_from(("-bad", "a" * 129))
users = st.sampled_from(("towpath-engine", "towpath-engine", "towpath-engine", "ci", "reader"))


class Wire(RuleBasedStateMachine):
    """``sessions``: the Location of an upload at each of the two, and what has been sent to it."""

    sessions = Bundle("sessions")
    asked_of: type[Any] = InProcess

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir=FAST))
        self.node: Asked = self.asked_of(self.folder / "node")
        self.twin: Asked = InProcess(None)
        self.asked = 0

    def both(
        self,
        method: str,
        path: str | tuple[str, str],
        headers: dict[str, str] | None = None,
        content: bytes = b"",
        who: str = "towpath-engine",
    ) -> tuple[Answer, Answer]:
        paths = (path, path) if isinstance(path, str) else path
        answers = [
            each.ask(who, method, where, headers or {}, content)
            for each, where in zip((self.node, self.twin), paths, strict=True)
        ]
        assert answers[0].status < 500, answers[0]
        assert answers[0].seen == answers[1].seen, (method, path)
        return answers[0], answers[1]

    @initialize()
    def some_content(self) -> None:
        for repository in REPOSITORIES:
            for content in BLOBS[:2]:
                self.both("POST", f"/v2/{repository}/blobs/uploads/?digest={Digest.of(content)}", content=content)
        for content, tag in zip(MANIFESTS, ("fixed-1", "latest", "v1", "v2", "v2"), strict=True):
            self.push_an_image("a", content, tag)

    # Uploads

    @rule(repository=repositories, content=blobs, right=st.booleans(), algorithm=algorithms, who=users)
    def push_in_one_request(self, repository: str, content: bytes, right: bool, algorithm: str, who: str) -> None:
        digest = Digest.of(content, algorithm) if right else NOWHERE
        self.both("POST", f"/v2/{repository}/blobs/uploads/?digest={digest}", content=content, who=who)

    @rule(target=sessions, repository=repositories, algorithm=st.sampled_from(("", "sha512", "md5")), who=users)
    def open_a_session(self, repository: str, algorithm: str, who: str) -> Any:
        query = f"?digest-algorithm={algorithm}" if algorithm else ""
        found = self.both("POST", f"/v2/{repository}/blobs/uploads/{query}", who=who)
        if found[0].status != 202:
            return multiple()
        return [(found[0].location, found[1].location), bytearray(), algorithm or "sha256", who]

    @rule(session=sessions, content=st.binary(min_size=1, max_size=9) | blobs, how=st.integers(0, 5))
    def send_a_chunk(self, session: Any, content: bytes, how: int) -> None:
        """In order, with and without Content-Range; at another place, or of another length than it says."""
        paths, sent, _, who = session
        start, end = len(sent), len(sent) + len(content) - 1
        ranges = {1: f"{start + 1}-{end + 1}", 2: f"{start}-{end + 3}", 3: f"{end}-{start - 2}", 4: f"{start}-{end}"}
        answers = self.both("PATCH", paths, {"content-range": ranges[how]} if how in ranges else {}, content, who)
        if answers[0].status == 202:
            sent += content

    @rule(
        repository=repositories,
        content=blobs | st.binary(max_size=20),
        at=st.integers(0, 5),
        wrong=st.sampled_from((None, None, None, "start", "order", "digest")),
        last=st.booleans(),
    )
    def push_in_chunks(self, repository: str, content: bytes, at: int, wrong: str | None, last: bool) -> None:
        """A whole upload in two or three requests. ``wrong``: a chunk or the digest, which must not spoil the rest."""
        found = self.both("POST", f"/v2/{repository}/blobs/uploads/")
        paths, (first, second) = (found[0].location, found[1].location), (content[:at], content[at:])
        if wrong == "start":
            self.both("PATCH", paths, {"content-range": f"3-{2 + len(content)}"}, content)
        self.both("PATCH", paths, {"content-range": f"0-{len(first) - 1}"} if first else {}, first)
        if wrong == "order":
            self.both("PATCH", paths, {"content-range": f"0-{len(first) - 1}"}, first)
            self.both("GET", paths)
        if not last:
            self.both("PATCH", paths, {}, second)
        query = f"?digest={NOWHERE if wrong == 'digest' else Digest.of(content)}"
        self.both("PUT", (paths[0] + query, paths[1] + query), {}, second if last else b"")
        self.both("GET", paths)
        self.both("GET", f"/v2/{repository}/blobs/{Digest.of(content)}")

    @rule(session=sessions, who=users)
    def ask_for_a_session(self, session: Any, who: str) -> None:
        """Its owner or somebody else; and in another repository."""
        self.both("GET", session[0], who=who)
        elsewhere = tuple(each.replace("/v2/a/", "/v2/x/").replace("/v2/b/c/", "/v2/a/") for each in session[0])
        self.both("GET", (elsewhere[0], elsewhere[1]), who=who)

    @rule(session=sessions, last=st.sampled_from((b"", b"", b"end")), right=st.sampled_from((True, True, False, None)))
    def finish_a_session(self, session: Any, last: bytes, right: bool | None) -> None:
        paths, sent, algorithm, who = session
        digest = Digest.of(bytes(sent) + last, algorithm) if right else NOWHERE
        query = "" if right is None else f"?digest={digest}"
        self.both("PUT", (paths[0] + query, paths[1] + query), content=last, who=who)

    @rule(session=sessions, who=users)
    def cancel_a_session(self, session: Any, who: str) -> None:
        self.both("DELETE", session[0], who=who)

    @rule(repository=repositories, source=st.none() | anywhere, digest=digests, who=users)
    def mount(self, repository: str, source: str | None, digest: str, who: str) -> None:
        query = urlencode({"mount": digest, **({"from": source} if source else {})})
        self.both("POST", f"/v2/{repository}/blobs/uploads/?{query}", who=who)

    # Manifests

    @rule(
        repository=repositories,
        content=manifests | st.sampled_from(BROKEN),
        reference=references | st.none(),
        more=st.lists(tags | st.just("-bad"), max_size=2),
        kind=st.sampled_from(TYPES),
        who=users,
    )
    def push_a_manifest(
        self, repository: str, content: bytes, reference: str | None, more: list[str], kind: str, who: str
    ) -> None:
        """``reference`` None: its own digest; ``kind`` "": its own type."""
        own = OCI_INDEX if content == MANIFESTS[4] else OCI_MANIFEST
        query = f"?{urlencode({'tag': more}, doseq=True)}" if more else ""
        path = f"/v2/{repository}/manifests/{reference or Digest.of(content)}{query}"
        self.both("PUT", path, {"content-type": kind or own}, content, who)

    @rule(repository=repositories, content=manifests, tag=tags)
    def push_an_image(self, repository: str, content: bytes, tag: str) -> None:
        """As clients do, so that some of it lands."""
        own = OCI_INDEX if content == MANIFESTS[4] else OCI_MANIFEST
        self.both("PUT", f"/v2/{repository}/manifests/{tag}", {"content-type": own}, content)

    @rule(
        method=st.sampled_from(("GET", "HEAD")),
        kind=st.sampled_from(("manifests", "blobs")),
        repository=anywhere,
        reference=references,
        headers=st.fixed_dictionaries(
            {},
            optional={
                "range": st.sampled_from(RANGES),
                "if-none-match": st.sampled_from(("*", "W/*", '"x"')) | digests.map(lambda each: f'"{each}"'),
                "if-range": digests.map(lambda each: f'"{each}"'),
            },
        ),
        who=users,
    )
    def read(self, method: str, kind: str, repository: str, reference: str, headers: dict[str, str], who: str) -> None:
        self.both(method, f"/v2/{repository}/{kind}/{reference}", headers, who=who)

    @rule(repository=anywhere, kind=st.sampled_from(("manifests", "blobs")), reference=references, who=users)
    def delete(self, repository: str, kind: str, reference: str, who: str) -> None:
        if reference != str(Digest.of(b"{}")):  # what every manifest needs stays
            self.both("DELETE", f"/v2/{repository}/{kind}/{reference}", who=who)

    @rule(repository=repositories, tag=tags, whole=st.booleans())
    def untag(self, repository: str, tag: str, whole: bool) -> None:
        """A tag, or the digest that it names with all its tags; then asks for what is left."""
        named = dict(self.both("HEAD", f"/v2/{repository}/manifests/{tag}")[0].headers).get("docker-content-digest")
        self.both("DELETE", f"/v2/{repository}/manifests/{named if whole and named else tag}")
        for reference in (tag, named or NOWHERE):
            self.both("HEAD", f"/v2/{repository}/manifests/{reference}")

    @rule(repository=repositories, content=st.sampled_from(BLOBS[1:]))
    def drop_a_blob(self, repository: str, content: bytes) -> None:
        for method in ("DELETE", "GET", "DELETE"):
            self.both(method, f"/v2/{repository}/blobs/{Digest.of(content)}")

    # Lists

    @rule(
        repository=repositories,
        n=st.sampled_from(("", "0", "1", "2", "x", "-1")),
        last=st.sampled_from(("", *TAGS, "zz")),
    )
    def list_tags(self, repository: str, n: str, last: str) -> None:
        for path in (f"/v2/{repository}/tags/list", "/v2/_catalog"):
            self.both("GET", f"{path}?{urlencode({name: text for name, text in (('n', n), ('last', last)) if text})}")

    @rule(repository=anywhere, digest=digests, kind=st.sampled_from(("", "application/x", "none")))
    def list_referrers(self, repository: str, digest: str, kind: str) -> None:
        query = f"?{urlencode({'artifactType': kind})}" if kind else ""
        self.both("GET", f"/v2/{repository}/referrers/{digest}{query}")

    @rule(method=st.sampled_from(("PATCH", "OPTIONS", "PUT")), repository=repositories)
    def another_method(self, method: str, repository: str) -> None:
        for path in ("tags/list", f"referrers/{NOWHERE}", f"blobs/{NOWHERE}"):
            self.both(method, f"/v2/{repository}/{path}")

    @rule()
    def restart(self) -> None:
        self.node.restart()

    @invariant()
    def both_show_the_same(self) -> None:
        """After every eighth request: one view of it all for each would be most of the work."""
        if self.asked % 8 == 0:
            self.look()
        self.asked += 1

    def look(self) -> None:
        for repository in REPOSITORIES:
            self.both("GET", f"/v2/{repository}/tags/list")
            self.both("GET", f"/v2/{repository}/referrers/{Digest.of(_PLAIN)}")
            for reference in (*TAGS, *(str(Digest.of(each)) for each in MANIFESTS)):
                self.both("HEAD", f"/v2/{repository}/manifests/{reference}")
            for content in BLOBS:
                self.both("HEAD", f"/v2/{repository}/blobs/{Digest.of(content)}")

    def teardown(self) -> None:
        try:
            self.node.restart()
            self.look()
        finally:
            self._end()

    def _end(self) -> None:
        self.node.close()
        self.twin.close()
        shutil.rmtree(self.folder)


class WireToAProcess(Wire):
    asked_of = Process


_PROFILE: dict[str, Any] = {"deadline": None, "suppress_health_check": list(HealthCheck)}


@pytest.mark.slow
@pytest.mark.timeout(1800 if EXAMPLES > 12 else 300)
class TestInProcess(Wire.TestCase):  # type: ignore[name-defined, misc] # made by hypothesis
    settings = settings(max_examples=EXAMPLES, stateful_step_count=25, **_PROFILE)


@pytest.mark.slow
@pytest.mark.timeout(1800 if EXAMPLES > 12 else 300)
class TestProcess(WireToAProcess.TestCase):  # type: ignore[name-defined, misc] # made by hypothesis
    settings = settings(max_examples=max(2, EXAMPLES // 10), stateful_step_count=20, **_PROFILE)
