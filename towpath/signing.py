"""``towpath sign``: a signature that cosign and the signature gate accept."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from oci_wire.registry import Call
from promotions.keys import KeyInvalid, PrivateKey, load_private
from promotions.sign import Layout
from promotions.sign import sign as write_signature
from towpath.access import ANYBODY, Who
from towpath.exits import Exit
from towpath.output import PLAIN, Options
from towpath.problem import Problem
from towpath.references import Places
from towpath.workspace import HERE, Where


async def sign(
    image: Annotated[str, Parameter(help="SCOPE/REPO:TAG, NODE/REPO:TAG or HOST:PORT/REPO:TAG.")],
    /,
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
        signature = await write_signature(place, Call(), found.digest, private, layout=layout)
    record = {"image": f"{place}@{found.digest}", "signature": str(signature), "layout": layout.value}
    out.emit(record, f"signed {place}@{found.digest}\n  signature {signature} ({layout.value})")
    return Exit.DONE


def _private_key(path: Path) -> PrivateKey:
    """Read before anything is asked of a registry."""
    try:
        content = path.read_bytes()
    except OSError as error:
        why = error.strerror or ""
        raise Problem(
            "key-unreadable", f"{path} cannot be read", why=why, next="give the private key with --key", exit=Exit.USAGE
        ) from None
    try:
        return load_private(content, os.environ.get("COSIGN_PASSWORD", "").encode())
    except KeyInvalid as error:
        raise Problem(
            "key-invalid",
            f"{path} is no private key that can be used",
            why=str(error),
            next="give the right key; its password, if it has one, in COSIGN_PASSWORD",
            exit=Exit.USAGE,
        ) from None
