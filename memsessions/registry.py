"""The apps that have sessions on a store: what the background wipe goes through."""

from __future__ import annotations

from .store.operations import FOREVER, Add, Append, Operation, Read, Store
from .validation import is_app


class Registry:
    """A list of names, one a line, only ever appended to. A name that stands there twice is no harm."""

    def __init__(self, store: Store, root: bytes) -> None:
        self._store = store
        self.key = root + b":apps"

    def names(self, deadline: float | None = None) -> list[str]:
        """Every app, once. One round trip."""
        (item,) = self._store.run((Read(self.key),), repeatable=True, deadline=deadline)
        lines = [] if item is None else item.value.decode(errors="replace").split("\n")
        return list(dict.fromkeys(filter(is_app, lines)))

    def entering(self, app: str, deadline: float | None = None) -> list[Operation]:
        """The operations that enter an app, none where it is known. One round trip."""
        if app in self.names(deadline):
            return []
        return [Add(self.key, b"", FOREVER), Append(self.key, b"%b\n" % app.encode())]
