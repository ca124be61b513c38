"""What a secret looks like in a topology, and how a line is shown without it."""

from __future__ import annotations

import re

SECRET_KEYS = frozenset(
    {"password", "passwd", "passphrase", "secret", "token", "auth", "privateKey", "apiKey", "credentials"}
)
LOOKS_SECRET = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|\$2[abxy]\$\d\d\$[./A-Za-z0-9]{53}"
    r"|\$argon2(id|i|d)\$"
    r"|\bgh[pousr]_[A-Za-z0-9]{36,}|\bgithub_pat_\w{22,}|\bglpat-[\w-]{20,}|\bdckr_pat_[\w-]{20,}"
    r"|\b(AKIA|ASIA)[0-9A-Z]{16}\b|\bxox[abprs]-[\w-]{10,}"
    r"|\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]*"
    r"|\b(?!s3:|file:)[a-z][a-z0-9+.-]{0,20}://[^/\s:@]{0,200}:[^/\s@]{1,200}@"
)
_GIVEN = re.compile(
    rf"(?P<key>\b(?:{'|'.join(sorted(SECRET_KEYS))})[\"']?\s*:\s+)(?P<value>(?![{{\[&*|>\s])[^,}}#]+)", re.IGNORECASE
)


def redacted(line: str) -> str:
    """The line with what looks secret turned into asterisks; as long as before, so that a caret still points right."""
    line = _GIVEN.sub(lambda found: found["key"] + "*" * len(found["value"]), line)
    return LOOKS_SECRET.sub(lambda found: "*" * len(found[0]), line)
