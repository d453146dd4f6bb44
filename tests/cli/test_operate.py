"""`wipe` and `repair`, on each kind of store."""

from __future__ import annotations

from memsessions import SessionsClient
from memsessions.cli import codes

from ..conftest import OnMemcached
from ..support.memcached import Memcached
from .support import At, ask


def test_wipe_removes_dead_entries_and_says_how_many(at: At, rs: SessionsClient) -> None:
    for n in range(3):
        rs.kill("forum", rs.create("forum", f"user{n}", "10.0.0.1")["token"])
    rs.create("forum", "alice", "10.0.0.1")
    assert at.ask("wipe").out == "3 entries removed\n"
    assert at.ask("wipe", "--json").document == {"wiped": 0}
    assert rs.activity("forum") == {"activity": 1}


def test_repair_lists_again_what_an_index_has_lost(there: At, on_memcached: OnMemcached) -> None:
    token = there.ask("create", "forum", "alice").out
    for key in on_memcached.server.keys(there.ns):
        if ":i:" in key:
            on_memcached.server.delete(key)
    assert there.ask("kill-user", "forum", "alice").code == codes.NOT_FOUND
    assert there.ask("repair", "--json").document == {
        "forum": {"listed": 0, "dead": 0, "unlisted": 1, "relisted": 1}
    }
    assert there.ask("repair").out.splitlines() == [
        "app    listed  dead  unlisted  relisted",
        "forum       1     0         0         0",
    ]
    assert there.ask("kill-user", "forum", "alice").code == 0
    assert there.ask("show", "forum", stdin=token).code == codes.NOT_FOUND


def test_repair_says_that_a_server_shows_no_keys() -> None:
    with Memcached("-X", "-t", "1") as server:
        done = ask("repair", "--server", server.address)
    assert (done.code, done.out) == (codes.UNAVAILABLE, "")
    assert server.address in done.err
