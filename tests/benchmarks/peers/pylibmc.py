"""pylibmc, the client in C on libmemcached: bytes under a key, as its documentation sets it up."""

from __future__ import annotations

from collections.abc import Callable

from ..lacking import Lacking
from ..machine import Bench
from ..timing import Case

GET = "pylibmc get (C)"
SWAP = "pylibmc gets + cas (C)"


def cases(bench: Bench, key: str, value: bytes, calls: int) -> list[Case]:
    """Reading what a key holds; and writing it, too, if nobody else did meanwhile."""
    try:
        import pylibmc
    except ImportError as error:
        raise Lacking("pylibmc", str(error)) from error
    bench.took_part("pylibmc", f"{pylibmc.__version__} on libmemcached {pylibmc.libmemcached_version}")
    behaviors = {"tcp_nodelay": True, "ketama": True}
    reader = pylibmc.Client([bench.memcached.address], binary=True, behaviors=behaviors)
    writer = pylibmc.Client([bench.memcached.address], binary=True, behaviors={**behaviors, "cas": True})
    swapped = f"{key}-swapped"
    reader.set(key, value)
    reader.set(swapped, value)

    def swap(name: str) -> bool:
        _value, stamp = writer.gets(name)
        return bool(writer.cas(name, value, stamp))

    def same(name: str) -> Callable[[], list[str]]:
        return lambda: [name] * calls

    return [
        Case(GET, reader.get, same(key), lambda answer: bool(answer == value)),
        Case(SWAP, swap, same(swapped), bool),
    ]
