"""What can go wrong between two registries: one class per OCI error code, one status table for both sides.

RegistryError                      code, message, detail; status by table
├── BlobUnknown                    BLOB_UNKNOWN 404
├── BlobUploadInvalid              BLOB_UPLOAD_INVALID 400
│   └── RangeInvalid               BLOB_UPLOAD_INVALID 416 (an upload chunk out of order, a range past the end)
├── BlobUploadUnknown              BLOB_UPLOAD_UNKNOWN 404
├── DigestInvalid                  DIGEST_INVALID 400
├── ManifestBlobUnknown            MANIFEST_BLOB_UNKNOWN 404
├── ManifestInvalid                MANIFEST_INVALID 400
│   └── ManifestTooLarge           MANIFEST_INVALID 413
├── ManifestUnknown                MANIFEST_UNKNOWN 404
├── NameInvalid                    NAME_INVALID 400
├── NameUnknown                    NAME_UNKNOWN 404
├── SizeInvalid                    SIZE_INVALID 400
├── TagInvalid                     TAG_INVALID 400
├── Unauthorized                   UNAUTHORIZED 401
│   └── LoginRefused               UNAUTHORIZED 401 (a token service does not take our own credentials)
├── Denied                         DENIED 403
│   └── TagImmutable               DENIED 403
├── Unsupported                    UNSUPPORTED 405
│   └── RealmUndeclared            its token service is on a host that may not see our credentials
├── TooManyRequests                TOOMANYREQUESTS 429
├── RequestInvalid                 REQUEST_INVALID 400 (ours: a parameter or a JSON body that cannot be read)
├── Conflict                       CONFLICT 409 (ours: leases, transactions)
├── PreconditionFailed             PRECONDITION_FAILED 412 (ours: a tag is not what was expected)
├── Gone                           GONE 410 (ours: a lease has ended, events are no longer kept)
├── LoopDetected                   LOOP_DETECTED 508 (ours: registries that ask each other in a circle)
├── InsufficientStorage            INSUFFICIENT_STORAGE 507 (ours: quota or disk)
├── Unavailable                    UNAVAILABLE 503: a later try may succeed
│   ├── Unreachable                no answer at all: refused, cut, timed out
│   │   ├── TimedOut               it took too long
│   │   ├── Forbidden              its address is one that is not connected to: trying again does not help
│   │   └── Untrusted              its certificate is not one that we trust: nor here
│   └── UpstreamFailed             UNAVAILABLE 503 (ours: whom a mirror or a virtual asks)
│       ├── BadGateway             BAD_GATEWAY 502 (ours)
│       └── GatewayTimeout         GATEWAY_TIMEOUT 504 (ours)
└── Internal                       INTERNAL 500

Source: distribution-spec 1.1, "Error Codes"; codes marked ours are an extension that clients may ignore.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar


class RegistryError(Exception):
    """An error that has a code on the wire. ``message`` is one sentence for a person; ``detail`` is JSON; ``why`` is a
    word for the log of whoever refuses, and is never sent."""

    code: ClassVar[str] = "UNKNOWN"
    status: ClassVar[int] = 500
    transient: ClassVar[bool] = False  # whether the same request may succeed later

    def __init__(
        self, message: str = "", *, detail: Any = None, retry_after: float | None = None, why: str = ""
    ) -> None:
        super().__init__(message or self.code.lower().replace("_", " "))
        self.detail = detail
        self.why = why
        self.retry_after = retry_after  # seconds, from Retry-After

    @property
    def message(self) -> str:
        return str(self.args[0])


class BlobUnknown(RegistryError):
    code, status = "BLOB_UNKNOWN", 404


class BlobUploadInvalid(RegistryError):
    code, status = "BLOB_UPLOAD_INVALID", 400


class RangeInvalid(BlobUploadInvalid):
    status = 416


class BlobUploadUnknown(RegistryError):
    code, status = "BLOB_UPLOAD_UNKNOWN", 404


class DigestInvalid(RegistryError):
    code, status = "DIGEST_INVALID", 400


class ManifestBlobUnknown(RegistryError):
    code, status = "MANIFEST_BLOB_UNKNOWN", 404


class ManifestInvalid(RegistryError):
    code, status = "MANIFEST_INVALID", 400


class ManifestTooLarge(ManifestInvalid):
    status = 413


class ManifestUnknown(RegistryError):
    code, status = "MANIFEST_UNKNOWN", 404


class NameInvalid(RegistryError):
    code, status = "NAME_INVALID", 400


class NameUnknown(RegistryError):
    code, status = "NAME_UNKNOWN", 404


class SizeInvalid(RegistryError):
    code, status = "SIZE_INVALID", 400


class TagInvalid(RegistryError):
    code, status = "TAG_INVALID", 400


class Unauthorized(RegistryError):
    code, status = "UNAUTHORIZED", 401


class LoginRefused(Unauthorized):
    """The credentials are wrong: whoever gives tokens for them says so. A registry's own 401 may mean less."""


class Denied(RegistryError):
    code, status = "DENIED", 403


class TagImmutable(Denied):
    pass


class Unsupported(RegistryError):
    code, status = "UNSUPPORTED", 405


class RealmUndeclared(Unsupported):
    """Whoever wants our credentials is not whom they were given for (client/credentials.py)."""


class TooManyRequests(RegistryError):
    code, status, transient = "TOOMANYREQUESTS", 429, True


class RequestInvalid(RegistryError):
    code, status = "REQUEST_INVALID", 400


class Conflict(RegistryError):
    code, status = "CONFLICT", 409


class PreconditionFailed(RegistryError):
    code, status = "PRECONDITION_FAILED", 412


class Gone(RegistryError):
    code, status = "GONE", 410


class InsufficientStorage(RegistryError):
    code, status = "INSUFFICIENT_STORAGE", 507


class LoopDetected(RegistryError):
    code, status = "LOOP_DETECTED", 508


class Unavailable(RegistryError):
    code, status, transient = "UNAVAILABLE", 503, True


class Unreachable(Unavailable):
    """No answer came: connection refused, cut or timed out."""


class TimedOut(Unreachable):
    """No answer, or no more of it, in the time that was given."""


class Forbidden(Unreachable):
    """The name leads to an address that is not connected to (client/addresses.py)."""

    transient = False


class Untrusted(Unreachable):
    """TLS failed: the certificate is wrong, expired, or of an authority that we do not know."""

    transient = False


class UpstreamFailed(Unavailable):
    """Whom a mirror or a virtual asks could not say. ``upstream`` is its name, ``reason`` one word; both are sent, what
    lies below (addresses, what it said) is not: that is the ``__cause__``."""

    def __init__(
        self,
        message: str = "",
        *,
        upstream: str = "",
        reason: str = "",
        detail: Any = None,
        retry_after: float | None = None,
        why: str = "",
    ) -> None:
        told = {"upstream": upstream, "reason": reason} if upstream and detail is None else detail
        super().__init__(message, detail=told, retry_after=retry_after, why=why)
        self.upstream = upstream
        self.reason = reason


class BadGateway(UpstreamFailed):
    code, status = "BAD_GATEWAY", 502


class GatewayTimeout(UpstreamFailed):
    code, status = "GATEWAY_TIMEOUT", 504


class Internal(RegistryError):
    code, status, transient = "INTERNAL", 500, True


def _classes(root: type[RegistryError]) -> list[type[RegistryError]]:
    return [root, *(each for child in root.__subclasses__() for each in _classes(child))]


# Both directions of the table come from the classes themselves.
_BY_CODE_AND_STATUS = {(each.code, each.status): each for each in reversed(_classes(RegistryError))}
_BY_CODE = {each.code: each for each in reversed(_classes(RegistryError))}
# What a foreign server means when its body names no code that we know.
_BY_STATUS: dict[int, type[RegistryError]] = {
    400: BlobUploadInvalid,
    401: Unauthorized,
    403: Denied,
    404: NameUnknown,
    405: Unsupported,
    408: Unavailable,
    409: Conflict,
    410: Gone,
    412: PreconditionFailed,
    413: ManifestTooLarge,
    416: RangeInvalid,
    429: TooManyRequests,
    500: Internal,
    501: Unsupported,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
    507: InsufficientStorage,
    508: LoopDetected,
}


def to_json(error: RegistryError) -> bytes:
    """The spec's error body: ``{"errors": [{"code", "message", "detail"}]}``."""
    entry: dict[str, Any] = {"code": error.code, "message": error.message}
    if error.detail is not None:
        entry["detail"] = error.detail
    return json.dumps({"errors": [entry]}).encode()


def from_response(
    status: int, body: bytes, *, default: type[RegistryError] | None = None, retry_after: float | None = None
) -> RegistryError:
    """The error that a response means. ``default`` is the class for a status without a known code (HEAD has no
    body), e.g. BlobUnknown for the 404 of a blob. Never raises."""
    code, message, detail = _first_entry(body)
    known = _BY_CODE_AND_STATUS.get((code, status)) or _BY_CODE.get(code)
    if known is None or code == "UNKNOWN":
        fallback = Internal if status >= 500 else RegistryError
        known = default if default is not None and default.status == status else _BY_STATUS.get(status, fallback)
    return known(message or f"the registry answered {status}", detail=detail, retry_after=retry_after)


def _first_entry(body: bytes) -> tuple[str, str, Any]:
    try:
        first = json.loads(body)["errors"][0]
        return str(first.get("code", "")), str(first.get("message", "")), first.get("detail")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return "", "", None
