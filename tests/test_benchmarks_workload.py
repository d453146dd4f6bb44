"""The sessions that the benchmarks are measured with."""

from __future__ import annotations

from memsessions import SessionsClient

from .benchmarks.workload import APP, TTL_S, create, fill, user
from .support.memcached import Memcached


def test_what_is_filled_is_as_if_it_was_created_one_by_one() -> None:
    """As many items of as many bytes, in namespaces whose names are as long, and the same users."""
    with Memcached() as server:

        def items(ns: str) -> list[int]:
            return sorted(len(server.value(key) or b"") for key in server.keys(ns))

        with SessionsClient(server.address, ns="a", wipe=0) as filled:
            tokens = fill(filled, 1_500)
            assert len(set(tokens)) == 1_500
            assert filled.get(APP, tokens[0]) is not None
        with SessionsClient(server.address, ns="b", wipe=0) as created:
            for number in range(1_500):
                create(created, user(number))
            assert items("a") == items("b")
            ids = {session["id"] for session in created.iter_soapp(APP, TTL_S)}
        with SessionsClient(server.address, ns="a", wipe=0) as filled:
            assert {session["id"] for session in filled.iter_soapp(APP, TTL_S)} == ids
