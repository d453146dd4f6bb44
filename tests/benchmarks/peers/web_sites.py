"""What the sites of all frameworks have in common: their pages, and what their sessions hold."""

from __future__ import annotations

from collections.abc import Callable

from memsessions import Data

OURS = "memsessions"
#: What a session holds besides.
DATA: Data = {"theme": "dark", "lang": "en", "cart": [{"sku": number, "count": 1} for number in range(10)]}

#: The pages that are measured, and their bodies. `bare` does not touch the session, `read` shows one value of
#: it, `write` changes one. Two more are not measured: `fill` puts the data in, `number` shows what was written.
PAGES = {"bare": b"bare", "read": b"dark", "write": b"written"}

#: A request for a page; its body.
Ask = Callable[[str], bytes]
