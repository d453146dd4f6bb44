"""A session as it is stored: a JSON array that only a compare-and-swap ever replaces.

    [schema, id, ip, ttl, no_resave, w, d]

Read counts, idle time and what is left of a life are not in it: they change on every read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import orjson

from .types import Data, Scalar, Session

if TYPE_CHECKING:
    from typing import TypeAlias

#: Just a sequence: it is made and taken apart on every read of a session.
Record: TypeAlias = "tuple[int, str, str, int, int, int, Data | None]"

_SCHEMA = 1
_FIELDS = 7
_REFUSAL = "what stands under a session's key is not a session"


def new_record(id: str, ip: str, ttl: int, no_resave: bool, d: Data | None) -> Record:
    """The record of a session that was never read or written."""
    return _SCHEMA, id, ip, ttl, int(no_resave), 1, d


def written(record: Record, changes: Mapping[str, Scalar]) -> Record:
    """The record after one more write: changes are merged into its data, None removes a key."""
    schema, user, ip, ttl, no_resave, w, d = record
    merged = changes if d is None else {**d, **changes}
    return schema, user, ip, ttl, no_resave, w + 1, without_none(merged) or None


def without_none(d: Mapping[str, Scalar]) -> Data:
    """The data that is stored: a key without a value is not there."""
    return {key: value for key, value in d.items() if value is not None}


def shown(record: Record, reads: bytes, idle: int, left: int | None) -> Session:
    """The session that a record and its counter show; `left` is what a fixed life has left.

    Raises `ValueError` where the counter is not a number.
    """
    _, user, ip, ttl, no_resave, w, d = record
    session: Session = {
        "id": user,
        "r": int(reads),
        "w": w,
        "idle": idle,
        "ttl": ttl if left is None else left,
        "ip": ip,
        "d": d,
    }
    if no_resave:
        session["no_resave"] = True
    return session


def encode(record: Record) -> bytes:
    """A record's bytes; they hold no line end, whatever the data is."""
    return orjson.dumps(record)


def decode(value: bytes) -> Record:
    """The record that bytes stand for. Raises `ValueError` where they stand for none."""
    try:
        parsed: Any = orjson.loads(value)
    except ValueError:  # its message shows what it read
        parsed = None
    if _is_record(parsed):
        return cast("Record", parsed)
    raise ValueError(_REFUSAL)


def decode_many(values: list[bytes]) -> list[Record]:
    """As `decode`, for many at the cost of one call to the parser."""
    try:
        records: list[Any] = orjson.loads(b"[%b]" % b",".join(values))
    except ValueError:  # its message shows what it read
        records = []
    if len(records) == len(values) and all(map(_is_record, records)):
        return records
    raise ValueError(_REFUSAL)


def _is_record(parsed: Any) -> bool:
    if type(parsed) is not list or len(parsed) != _FIELDS:
        return False
    # One by one, which is quicker than any way to compare all: this is asked at every read of a session.
    schema, user, ip, ttl, no_resave, w, d = parsed
    return (
        type(schema) is int
        and schema == _SCHEMA
        and type(user) is str
        and type(ip) is str
        and type(ttl) is int
        and type(no_resave) is int
        and type(w) is int
        and (d is None or type(d) is dict)
    )
