"""Documents that two requests hold at the same time, in every order of the single commands of two calls.

As in test_concurrency: on the in-process store, which answers as memcached does and stands still in between.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

import pytest

from memsessions import SessionsClient
from memsessions.changes import REMOVED
from memsessions.document import Document
from memsessions.documents import Documents
from memsessions.handles import handle_of_token

from .conftest import InMemory
from .support.interleaving import Play

# The same lines again and again: to measure that they are covered would take longer than to run them.
pytestmark = pytest.mark.no_cover

APP = "shop"
USER = "user1234"
OTHER = "user5678"


class World:
    """A session, two clients of which each has read it, and one that looks."""

    def __init__(self, where: InMemory, no_resave: bool) -> None:
        ns = "t" + secrets.token_hex(6)
        self.racing = tuple(SessionsClient(where.address, ns=ns, wipe=0) for _ in range(2))
        self.looking = SessionsClient(where.address, ns=ns, wipe=0)
        made = self.looking.documents(APP).create({"old": 1}, id=USER, ttl=3600, no_resave=no_resave)
        self.token = made.token
        where.advance(20)  # so that nothing takes it for one that is just being made
        self.held = {rs: _there(rs.documents(APP).read(self.token)) for rs in self.racing}
        self.moved: list[str] = []

    def data(self) -> dict[str, Any] | None:
        """That of the one session there is, by whatever token and whoever's; None if there is none."""
        documents = self.looking.documents(APP)
        found = [documents.read(token) for token in (self.token, *self.moved)]
        living = [document for document in found if document is not None]
        listed = self.looking.soapp(APP, 7200)
        assert len(listed) == len(living) <= 1
        users = self.looking.soid(APP, USER) + self.looking.soid(APP, OTHER)
        assert len(users) == len(living)
        assert self.looking.activity(APP, 7200) == {"activity": len(living)}
        if not living:
            return None
        assert living[0].data == listed[0]["d"]
        return living[0].data


def _there(document: Document | None) -> Document:
    assert document is not None
    return document


Act = Callable[[World, SessionsClient], Any]


def _act(call: Callable[[Documents, Document], Document | None]) -> Act:
    def act(world: World, rs: SessionsClient) -> bool:
        document = call(rs.documents(APP), world.held[rs])
        if document is not None and document.token != world.token:
            world.moved.append(document.token)
        return document is not None

    return act


save = _act(lambda documents, held: documents.save(held, {"new": 2, "old": REMOVED}))
save_too = _act(lambda documents, held: documents.save(held, {"newer": 3}))
move = _act(lambda documents, held: documents.move(held, {"new": 2, "old": REMOVED}))
bind = _act(lambda documents, held: documents.move(held, {"newer": 3}, id=OTHER))


def end_unchanged(world: World, rs: SessionsClient) -> bool:
    return rs.documents(APP).end_unchanged(world.held[rs])


def end_device(world: World, rs: SessionsClient) -> bool:
    return rs.documents(APP).end_device(USER, handle_of_token(world.token))


def kill(world: World, rs: SessionsClient) -> bool:
    return rs.kill(APP, world.token) == {"kill": 1}


def killsoid(_world: World, rs: SessionsClient) -> bool:
    rs.killsoid(APP, USER)
    return True


def wipe(_world: World, rs: SessionsClient) -> bool:
    rs.wipe()
    return True


@pytest.fixture(params=[False, True], ids=["", "fixed end"])
def play(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Run two acts against each other, and check the data that is left."""
    where = InMemory()

    def run(first: Act, second: Act, right: Callable[[bool, bool, dict[str, Any] | None], bool]) -> None:
        def check(world: World, answer: bool, other: bool) -> None:
            data = world.data()
            assert right(answer, other, data), (answer, other, data)

        worlds = Play(
            lambda: World(where, request.param),
            lambda world: (world.racing[0], world.racing[1]),
            first,
            second,
            check,
        )
        assert worlds.every_order() >= 3

    return run


def test_two_saves_keep_each_others_keys(play: Callable[..., None]) -> None:
    play(save, save_too, lambda one, two, data: one and two and data == {"new": 2, "newer": 3})


@pytest.mark.parametrize("act", [save, move, bind])
def test_what_is_killed_meanwhile_is_not_brought_back(play: Callable[..., None], act: Act) -> None:
    """A kill that found the session ended it for good; one that did not came after it had moved."""
    play(act, kill, lambda _done, killed, data: (data is None) if killed else data is not None)
    play(kill, act, lambda killed, _done, data: (data is None) if killed else data is not None)


def test_what_is_saved_while_its_user_is_logged_out_everywhere_ends(play: Callable[..., None]) -> None:
    play(save, killsoid, lambda _saved, _killed, data: data is None)
    play(killsoid, save, lambda _killed, _saved, data: data is None)


def test_a_session_that_moves_while_its_user_is_logged_out_everywhere_ends(
    play: Callable[..., None],
) -> None:
    play(move, killsoid, lambda _moved, _killed, data: data is None)
    play(killsoid, move, lambda _killed, _moved, data: data is None)


def test_a_session_that_changes_its_user_meanwhile_is_whole_or_gone(play: Callable[..., None]) -> None:
    """Logging out the user that it had either ends it or comes too late."""
    play(bind, killsoid, lambda bound, _killed, data: (data is not None) == bound)
    play(killsoid, bind, lambda _killed, bound, data: (data is not None) == bound)


@pytest.mark.parametrize("other", [move, bind])
def test_of_two_moves_one_wins(play: Callable[..., None], other: Act) -> None:
    """The loser is told; there is one session afterwards."""
    play(move, other, lambda one, two, data: one != two and data is not None)


@pytest.mark.parametrize("act", [move, bind])
def test_a_save_beside_a_move_is_kept_or_refused(play: Callable[..., None], act: Act) -> None:
    """There is one session afterwards, with what was said to be saved."""
    changes = {move: ({"new": 2}, save_too, {"newer": 3}), bind: ({"newer": 3}, save, {"new": 2})}
    moved, saving, saved = changes[act]

    def right(one: bool, two: bool, data: dict[str, Any] | None) -> bool:
        return (
            one
            and data is not None
            and data.items() >= moved.items()
            and (data.items() >= saved.items()) == two
        )

    play(act, saving, right)
    play(saving, act, lambda one, two, data: right(two, one, data))


def test_a_session_that_was_emptied_ends_unless_something_was_put_in(play: Callable[..., None]) -> None:
    play(end_unchanged, save_too, lambda ended, saved, data: ended != saved and (data is None) == ended)
    play(save_too, end_unchanged, lambda saved, ended, data: ended != saved and (data is None) == ended)


@pytest.mark.parametrize("act", [save, move])
def test_a_device_that_was_ended_is_gone(play: Callable[..., None], act: Act) -> None:
    """Ended by its name while a request of its own changes it; if it had moved, the name was no more."""
    play(act, end_device, lambda _done, ended, data: (data is None) == ended)
    play(end_device, act, lambda ended, _done, data: (data is None) == ended)


@pytest.mark.parametrize("act", [save, move, bind])
def test_a_wipe_takes_nothing_that_lives(play: Callable[..., None], act: Act) -> None:
    play(act, wipe, lambda done, _wiped, data: done and data is not None)
    play(wipe, act, lambda _wiped, done, data: done and data is not None)
