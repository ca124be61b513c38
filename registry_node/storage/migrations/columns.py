"""Kinds of columns, as both databases have them."""

from __future__ import annotations

from sqlalchemy import BigInteger, Integer, Text

# Bytes of a blob and clocks in milliseconds do not fit into PostgreSQL's INTEGER.
NUMBER = BigInteger().with_variant(Integer(), "sqlite")
NAME = Text().with_variant(Text(collation="C"), "postgresql")
