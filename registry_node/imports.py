"""Imports without the garbage collector: they make much and drop nothing, and a quarter of their time went into looking
for what might be dropped."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collection() -> Iterator[None]:
    """What is there at the end is not looked at again: modules stay."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
