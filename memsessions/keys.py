"""The names of everything that is stored.

{ns}:{app}:s:{session}            the session, see `record`
{ns}:{app}:r:{session}            its read counter
{ns}:{app}:i:{bucket}             index bucket, see `index`
{ns}:{app}:x:{bucket}.{segment}   what did not fit into the bucket
{ns}:{app}:x                      there is something of the kind
{ns}:apps                         the apps that have sessions here
{ns}:wipe                         held by the process that wipes in this interval
"""

from __future__ import annotations


class AppKeys:
    """The keys of one app."""

    __slots__ = ("buckets", "reads", "segments", "sessions", "spilled")

    def __init__(self, root: bytes, app: str) -> None:
        base = b"%b:%b:" % (root, app.encode())
        self.sessions = base + b"s:"
        self.reads = base + b"r:"
        self.buckets = base + b"i:"
        self.segments = base + b"x:"
        self.spilled = base + b"x"
