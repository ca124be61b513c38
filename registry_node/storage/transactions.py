"""Tag transactions: all of the tags change, or none; the same one again gives its first receipt."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from oci_wire.errors import Conflict, Gone, ManifestUnknown, PreconditionFailed
from oci_wire.extension import TagEffect, TagReceipt, TagTransaction
from registry_node.storage.changes import Author, Transaction, has_manifest, set_tag, tag_digest
from registry_node.storage.leases import check_token
from registry_node.storage.statements import put

_PUT = put("transactions", "repository txid", "state fingerprint receipt at")
_PUT_TRASH = put("trash", "repository tag digest", "until")
_KNOWN = "SELECT txid, state, fingerprint, receipt FROM transactions WHERE repository = :repository AND txid = :txid"
RECOVERED = ""  # the fingerprint of a receipt that came back from the journal: only its effects are known


def commit(unit: Transaction, name: str, txid: str, wanted: TagTransaction) -> TagReceipt:
    """Errors as ``Extension.commit_tags`` lists them."""
    known = _row(unit, name, txid)
    if known is not None:
        return _again(known, wanted)
    repository = unit.ensure_repository(name)
    check_token(unit, name, wanted.lease, wanted.token)
    if unit.clock() > wanted.not_after:
        raise Gone("this transaction came after its time; plan again")
    _check_tags(unit, repository, wanted)
    author = Author(wanted.actor, txid, wanted.origin_time)
    for each in wanted.tags:
        set_tag(unit, name, each.tag, each.to, author)
        if each.to is None and each.expect is not None and each.trash_until is not None:
            _keep_in_trash(unit, name, each.tag, each.expect, each.trash_until)
    effects = tuple(TagEffect(tag=each.tag, old=each.expect, new=each.to) for each in wanted.tags)
    receipt = TagReceipt(txid=txid, rev=unit.rev(repository), at=unit.clock(), actor=wanted.actor, effects=effects)
    _store(unit, name, txid, "landed", mark=fingerprint(wanted), receipt=receipt)
    return receipt


def read(unit: Transaction, name: str, txid: str) -> TagReceipt | None:
    row = _row(unit, name, txid)
    return TagReceipt.model_validate_json(row.receipt) if row is not None and row.state == "landed" else None


def abort(unit: Transaction, name: str, txid: str) -> None:
    """Raises Conflict, with the receipt, when it has landed."""
    unit.ensure_repository(name)
    landed = read(unit, name, txid)
    if landed is not None:
        raise Conflict(f"transaction {txid} has landed", detail=landed.model_dump(mode="json"))
    if _row(unit, name, txid) is None:
        _store(unit, name, txid, "aborted")


def fingerprint(wanted: TagTransaction) -> str:
    """Of what a transaction is for. A resumed engine asks again under a newer lease: that is the same transaction."""
    tags = sorted((each.model_dump(mode="json") for each in wanted.tags), key=lambda each: str(each["tag"]))
    told = json.dumps([wanted.actor, wanted.origin_time, tags], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()


def restore_receipt(unit: Transaction, line: dict[str, Any]) -> None:
    """Adds one journal line's effect to the receipt of its transaction."""
    name, txid = line["repository"], line["txid"]
    known = read(unit, name, txid)
    effect = TagEffect(tag=line["tag"], old=line.get("old"), new=line.get("digest"))
    effects = (*(known.effects if known else ()), effect)
    receipt = TagReceipt(txid=txid, rev=line["rev"], at=line["at"], actor=line["actor"], effects=effects)
    _store(unit, name, txid, "landed", mark=RECOVERED, receipt=receipt)


def _row(unit: Transaction, name: str, txid: str) -> Any:
    return unit.row(_KNOWN, repository=name, txid=txid)


def _again(row: Any, wanted: TagTransaction) -> TagReceipt:
    if row.state == "aborted":
        raise Conflict(f"transaction {row.txid} was aborted")
    receipt = TagReceipt.model_validate_json(row.receipt)
    effects = {TagEffect(tag=each.tag, old=each.expect, new=each.to) for each in wanted.tags}
    same = (
        receipt.actor == wanted.actor and set(receipt.effects) == effects
        if row.fingerprint == RECOVERED
        else row.fingerprint == fingerprint(wanted)
    )
    if not same:
        raise Conflict(f"transaction id {row.txid} was used for something else")
    return receipt


def _check_tags(unit: Transaction, repository: int, wanted: TagTransaction) -> None:
    found = {each.tag: tag_digest(unit, repository, each.tag) for each in wanted.tags}
    moved = {each.tag: found[each.tag] for each in wanted.tags if found[each.tag] != each.expect}
    if moved:
        raise PreconditionFailed(f"tags are not what was expected: {', '.join(sorted(moved)[:5])}", detail=moved)
    targets = {each.to for each in wanted.tags if each.to}
    missing = sorted(each for each in targets if not has_manifest(unit, repository, each))
    if missing:
        raise ManifestUnknown(f"push these manifests first: {', '.join(missing[:5])}", detail=missing)


def _keep_in_trash(unit: Transaction, name: str, tag: str, digest: str, until: float) -> None:
    unit.tx.execute(_PUT_TRASH, {"repository": name, "tag": tag, "digest": digest, "until": until})


def _store(
    unit: Transaction, name: str, txid: str, state: str, *, mark: str = "", receipt: TagReceipt | None = None
) -> None:
    values = {
        "state": state,
        "fingerprint": mark,
        "receipt": receipt.model_dump_json() if receipt else None,
        "at": unit.clock(),
    }
    unit.tx.execute(_PUT, {"repository": name, "txid": txid, **values})
