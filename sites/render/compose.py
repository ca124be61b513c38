"""A service for each node (compose-spec.io), and beside it a folder with all that the node is given.

The folder is one mount: Compose cannot put inline ``configs`` into a container whose root is read-only
(github.com/docker/compose/issues/12031), and podman-compose knows no ``configs`` at all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from sites.render.contained import CA, DATA, SETTINGS, USER, Contained
from sites.texts import text_of

FILE = "compose.yaml"
_MOUNTED = SETTINGS.parent
# Itself, on loopback, where its certificate names nobody. One shell line: podman-compose misquotes lists.
_HEALTH = (
    'python3 -I -c "import ssl, urllib.request as r; '
    "r.urlopen('{url}', timeout=5, context=ssl._create_unverified_context())\""
)


def compose(nodes: Sequence[Contained], *, project: str, image: str) -> dict[str, str]:
    """By path: ``compose.yaml``, which holds no secret, and NODE/... as it lies below /etc/towpath in the container."""
    text = text_of(
        "compose.yaml.j2",
        nodes=nodes,
        project=project,
        image=image,
        settings=str(SETTINGS / "settings.json"),
        mounted=str(_MOUNTED),
        data=str(DATA),
        user=USER,
        health={each.name: _HEALTH.format(url=f"{each.scheme}://127.0.0.1:{each.node.port}/healthz") for each in nodes},
        literal=_literal,
    )
    return {FILE: text, **{f"{each.name}/{path}": content for each in nodes for path, content in _given(each)}}


def _given(each: Contained) -> Iterator[tuple[PurePosixPath, str]]:
    yield _within(SETTINGS / "settings.json"), each.settings_text + "\n"
    for source, login in each.logins.items():
        yield _within(SETTINGS / f"{source}.login"), login
    for source, pem in each.authorities.items():
        yield _within(CA / f"{source}.crt"), pem


def _within(path: PurePosixPath) -> PurePosixPath:
    return path.relative_to(_MOUNTED)


def _literal(text: str) -> str:
    """Compose reads ``$`` as a variable."""
    return text.replace("$", "$$")
