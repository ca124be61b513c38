"""Verbs about what vouches for an image: sign, trace."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from oci_wire.digest import Digest
from oci_wire.registry import Call
from promotions.keys import KeyInvalid, load_private
from promotions.sign import Layout
from promotions.sign import sign as write_signature
from promotions.trace import Step, digest_of_tag
from promotions.trace import trace as steps_of
from towpath.access import ANYBODY, Who
from towpath.engine import ledgers_of, translated
from towpath.exits import Exit
from towpath.flow import split_image
from towpath.output import PLAIN, Options
from towpath.problem import Problem
from towpath.references import Places
from towpath.workspace import HERE, Where, Workspace


async def sign(
    image: Annotated[str, Parameter(help="SCOPE/REPO:TAG, NODE/REPO:TAG or HOST:PORT/REPO:TAG.")],
    *,
    key: Annotated[Path, Parameter(help="The private key (cosign's, or PKCS 8); its password is $COSIGN_PASSWORD.")],
    layout: Annotated[Layout, Parameter(help="Where the signature goes: tag, referrer or bundle.")] = Layout.TAG,
    who: Who = ANYBODY,
    where: Where = HERE,
    options: Options = PLAIN,
) -> Exit:
    """Sign an image with a key, as `cosign sign --key` does; cosign verifies it and so does a signature gate."""
    out, private = options.open(), _private_key(key)
    async with Places(where.open_if_any(), who.credentials()) as places:
        located = await places.locate(image)
        place = located.place
        found = await place.registry.resolve(Call(), place.repository, located.reference)
        with translated():
            signature = await write_signature(place, Call(), found.digest, load_private(*private), layout=layout)
    record = {"image": f"{place}@{found.digest}", "signature": str(signature), "layout": layout.value}
    out.emit(record, f"signed {place}@{found.digest}\n  signature {signature} ({layout.value})")
    return Exit.DONE


def _private_key(path: Path) -> tuple[bytes, bytes]:
    """Its bytes and its password, checked before anything is asked of a registry."""
    try:
        content = path.read_bytes()
    except OSError as error:
        why = error.strerror or ""
        raise Problem(
            "key-unreadable", f"{path} cannot be read", why=why, next="give the private key with --key", exit=Exit.USAGE
        ) from None
    password = os.environ.get("COSIGN_PASSWORD", "").encode()
    try:
        load_private(content, password)
    except KeyInvalid as error:
        raise Problem(
            "key-invalid",
            f"{path} is no private key that can be used",
            why=str(error),
            next="give the right key; its password, if it has one, in COSIGN_PASSWORD",
            exit=Exit.USAGE,
        ) from None
    return content, password


async def trace(
    image: Annotated[str, Parameter(help="SCOPE/REPOSITORY:TAG or SCOPE/REPOSITORY@sha256:...")],
    *,
    where: Where = HERE,
    options: Options = PLAIN,
) -> Exit:
    """By which edges, when, by whom and on what evidence an image came. Read from the ledgers: no node is asked."""
    out, workspace = options.open(), where.open()
    scope, repository, digest = _traced(workspace, image)
    with translated():
        steps = steps_of(ledgers_of(workspace), digest, repository)
    if not steps:
        raise Problem("not-in-ledger", f"no ledger knows {scope}/{repository}@{digest}", next=_PUSHED)
    out.talk(f"{scope}/{repository}@{digest}")
    for step in steps:
        out.emit(_record(step), "\n".join(_lines(step)))
    return Exit.DONE


_PUSHED = "ledgers begin at the first promotion: an image that was only pushed is in none"


def _traced(workspace: Workspace, image: str) -> tuple[str, str, str]:
    scope, _, rest = image.partition("/")
    if scope not in workspace.topology.scopes:
        known = ", ".join(workspace.topology.scopes)
        raise Problem("unknown-name", f"{scope!r} is no scope", next=f"known: {known}", exit=Exit.USAGE)
    repository, reference, tag = split_image(rest)
    if reference != tag:
        return scope, repository, str(Digest.parse(reference))
    with translated():
        found = digest_of_tag(ledgers_of(workspace), scope, repository, tag)
    if found is None:
        raise Problem("not-in-ledger", f"no promotion ever set {image}", next=_PUSHED)
    return scope, repository, found


def _record(step: Step) -> dict[str, Any]:
    return {
        "kind": step.kind,
        "at": step.at,
        "over": step.over,
        "from": step.source,
        "to": step.target,
        "repository": step.repository,
        "who": step.who,
        "how": step.how,
        "tags": dict(step.tags),
        "verdicts": list(step.verdicts),
        "evidence": step.evidence,
        "promotion": step.promotion,
        "reasons": list(step.reasons),
        "ledger": f"{step.ledger}#{step.seq}",
    }


def _lines(step: Step) -> Iterator[str]:
    at = datetime.fromtimestamp(step.at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    way = f"{step.source} -> {step.target}" if step.target else step.source
    yield f"{at}  {step.kind:<11}  {way}  ({step.over})"
    if step.tags:
        moves = (f"{tag} ({'was ' + old[:19] if old else 'new'})" for tag, old in step.tags)
        yield f"{'':22}tags      {', '.join(moves)}"
    if step.who:
        proof = f" (by {step.how})" if step.how else ""
        yield f"{'':22}asked by  {step.who}{proof}"
    for verdict in step.verdicts:
        yield f"{'':22}gate      {verdict['gate']}: {verdict['answer']}, {'; '.join(verdict['reasons'])}"
    if step.evidence:
        yield f"{'':22}evidence  {step.evidence}"
    for reason in step.reasons:
        yield f"{'':22}because   {reason}"
    yield f"{'':22}record    ledger {step.ledger}, {step.seq}" + (f", {step.promotion}" if step.promotion else "")
