"""What the sites of all frameworks have in common: their pages, and what their sessions hold."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from ..lacking import Lacking

OURS = "memsessions"
#: What a session holds besides.
DATA: dict[str, object] = {
    "theme": "dark",
    "lang": "en",
    "cart": [{"sku": number, "count": 1} for number in range(10)],
}

#: The pages that are measured, and their bodies. `bare` does not touch the session, `read` shows one
#: value of it, `write` changes one. `fill`, which puts the data in, and `number`, which
#: shows what was written, are not measured.
PAGES = {"bare": b"bare", "read": b"dark", "write": b"written"}

#: A request for a page; its body.
Ask = Callable[[str], bytes]


def find(**distributions: str) -> None:
    """Modules, and what each comes from; raises `Lacking` for the first that cannot be imported."""
    for module, distribution in distributions.items():
        try:
            import_module(module)
        except ImportError as error:
            raise Lacking(distribution, str(error)) from error
