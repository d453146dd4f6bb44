"""A session as it is stored: a JSON array that only a compare-and-swap ever replaces.

    [schema, id, ip, ttl, no_resave, w, d]

Read counts, idle time and what is left of a life are not in it: they change on every read.
"""

from __future__ import annotations

from typing import NamedTuple

import orjson

from .types import Data, Session

_SCHEMA = 1
_REFUSAL = "what stands under a session's key is not a session"


class Record(NamedTuple):
    """The stored part of a session."""

    schema: int
    id: str
    ip: str
    ttl: int
    no_resave: int
    w: int
    d: Data | None

    def session(self, r: int, idle: int, ttl: int) -> Session:
        """The session as it is shown."""
        shown: Session = {
            "id": self.id,
            "r": r,
            "w": self.w,
            "idle": idle,
            "ttl": ttl,
            "ip": self.ip,
            "d": self.d,
        }
        if self.no_resave:
            shown["no_resave"] = True
        return shown


def new_record(id: str, ip: str, ttl: int, no_resave: bool, d: Data | None) -> Record:
    """The record of a session that was never read or written."""
    return Record(_SCHEMA, id, ip, ttl, int(no_resave), 1, d)


def encode(record: Record) -> bytes:
    """A record's bytes; they hold no line end, whatever the data is."""
    return orjson.dumps(tuple(record))


def decode(value: bytes) -> Record:
    """The record that bytes stand for. Raises `ValueError` where they stand for none."""
    try:
        record = Record._make(orjson.loads(value))
    except (TypeError, ValueError):
        raise ValueError(_REFUSAL) from None  # the parser's own message shows what it read
    if record.schema != _SCHEMA:
        raise ValueError(_REFUSAL)
    return record


def decode_many(values: list[bytes]) -> list[Record]:
    """As `decode`, for many at the cost of one call to the parser."""
    try:
        rows = orjson.loads(b"[%b]" % b",".join(values))
        records = [Record._make(row) for row in rows]
    except (TypeError, ValueError):
        raise ValueError(_REFUSAL) from None
    if len(records) != len(values) or any(record.schema != _SCHEMA for record in records):
        raise ValueError(_REFUSAL)
    return records
