"""The command line. One module per group of verbs, imported when it runs."""

from __future__ import annotations


def main() -> None:
    raise SystemExit("towpath: nothing here yet")
