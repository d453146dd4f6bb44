"""The checker of histories tells right ones from wrong ones, and a short attack gives it enough of them."""

from __future__ import annotations

import itertools
import math
import random

import pytest

from .stress import linearizability
from .stress.histories import Call, Cuts, Seen, violations
from .support.attacks import attacked
from .support.linearizability import IMPOSSIBLE, Impossible, Operation, contradiction

# The same lines again and again: to measure that they are covered would take longer than to run them.
pytestmark = pytest.mark.no_cover

# ----------------------------------------------------------------------------------- the search itself


def register(state: int, what: tuple[str, int]) -> int | Impossible:
    """Something that is written, and read."""
    name, value = what
    if name == "write":
        return value
    return state if state == value else IMPOSSIBLE


def stuck(*history: tuple[str, int, float, float]) -> tuple[str, int] | None:
    """At which call of a register the search gets stuck."""
    operations = [Operation((name, value), called, returned) for name, value, called, returned in history]
    odd = contradiction(operations, 0, register)
    return None if odd is None else odd.what


NEVER = math.inf


def test_a_history_without_overlaps_is_as_it_was_called() -> None:
    assert stuck(("write", 1, 0, 1), ("read", 1, 2, 3), ("write", 2, 4, 5), ("read", 2, 6, 7)) is None
    assert stuck(("write", 1, 0, 1), ("write", 2, 2, 3), ("read", 1, 4, 5)) == ("read", 1)


def test_a_call_may_take_effect_anywhere_between_its_beginning_and_its_end() -> None:
    assert stuck(("write", 1, 0, 9), ("read", 0, 1, 2), ("read", 1, 3, 4), ("read", 1, 5, 6)) is None
    assert stuck(("write", 1, 0, 9), ("read", 1, 1, 2), ("read", 0, 3, 4)) == ("read", 0)


def test_the_order_of_two_writes_is_the_same_for_all() -> None:
    writes = [("write", 1, 0.0, 9.0), ("write", 2, 0.0, 9.0)]
    assert stuck(*writes, ("read", 1, 1, 2), ("read", 2, 3, 4)) is None
    assert stuck(*writes, ("read", 1, 1, 2), ("read", 2, 3, 4), ("read", 1, 5, 6)) == ("read", 1)


def test_an_unknown_call_may_have_happened_or_not_or_may_happen_late() -> None:
    assert stuck(("write", 1, 0, NEVER), ("read", 0, 1, 2)) is None
    assert stuck(("write", 1, 0, NEVER), ("read", 1, 1, 2)) is None
    assert stuck(("write", 1, 0, NEVER), ("write", 2, 1, 2), ("read", 2, 3, 4), ("read", 1, 5, 6)) is None
    # But once at the most, and not before it was called.
    assert stuck(("write", 1, 0, NEVER), ("read", 1, 1, 2), ("write", 2, 3, 4), ("read", 1, 5, 6)) == (
        "read",
        1,
    )
    assert stuck(("read", 1, 0, 1), ("write", 1, 2, NEVER)) == ("read", 1)


def by_trying_all(history: list[Operation[tuple[str, int]]]) -> bool:
    """Whether any order of any of the unknown calls and all others is right."""
    known = [op for op in history if op.is_known]
    unknown = [op for op in history if not op.is_known]
    for number in range(len(unknown) + 1):
        for some in itertools.combinations(unknown, number):
            for order in itertools.permutations([*known, *some]):
                if any(
                    later.returned < earlier.called for earlier, later in itertools.combinations(order, 2)
                ):
                    continue
                state: int | Impossible = 0
                for op in order:
                    if state is not IMPOSSIBLE:
                        state = register(state, op.what)
                if state is not IMPOSSIBLE:
                    return True
    return False


def test_the_search_finds_what_trying_every_order_finds() -> None:
    dice = random.Random(5)
    right = 0
    for _ in range(1500):
        history = []
        for _ in range(5):
            called = dice.randrange(10)
            returned = NEVER if dice.random() < 0.2 else called + dice.randrange(1, 6)
            name = dice.choice(["read", "write"])
            history.append(Operation((name, dice.randrange(3)), called, returned, is_read=name == "read"))
        expected = by_trying_all(history)
        assert (contradiction(history, 0, register) is None) == expected, history
        right += expected
    assert 300 < right < 1200


# ------------------------------------------------------------------------------ histories of sessions

NO_CUTS = Cuts([])


def found(*calls: Call, cuts: Cuts = NO_CUTS) -> list[str]:
    """What is wrong with a session that was made between 0 and 1, with one read and one write."""
    return list(violations([Call("create", {"a": 1}, 0, 1, None), *calls], cuts))


def a_get(called: float, ended: float, w: int, r: int, **d: int) -> Call:
    return Call("get", None, called, ended, Seen(w, d, r))


def a_set(called: float, ended: float, w: int, r: int, change: dict[str, int | None], **d: int) -> Call:
    return Call("set", change, called, ended, Seen(w, d, r))


def test_right_histories_of_a_session() -> None:
    assert found() == []
    assert found(a_get(2, 3, 1, 2, a=1), a_set(4, 5, 2, 2, {"a": None, "b": 5}, b=5)) == []
    assert (
        found(Call("kill", None, 2, 3, 1), Call("get", None, 4, 5, None), Call("kill", None, 6, 7, 0)) == []
    )
    # Before and while it is made it may be there or not.
    assert found(Call("soid", None, 0.5, 0.6, Seen(1, {"a": 1}, 1))) == []
    assert found(Call("soid", None, 0.5, 0.6, None)) == []


WRONG = {
    "a read of what was overwritten": [a_set(2, 3, 2, 1, {"a": 2}, a=2), a_get(4, 5, 1, 2, a=1)],
    "a lost write": [a_set(2, 9, 2, 1, {"a": 2}, a=2), a_set(2, 9, 2, 1, {"b": 2}, a=1, b=2)],
    "a write that was not merged": [a_set(2, 3, 2, 1, {"b": 2}, b=2)],
    "a read after the end": [Call("kill", None, 2, 3, 1), a_get(4, 5, 1, 2, a=1)],
    "an end that did nothing": [Call("kill", None, 2, 3, 0)],
    "two ends": [Call("kill", None, 2, 9, 1), Call("kill", None, 2, 9, 1)],
    "a session that is not there": [Call("get", None, 2, 3, None)],
    "a session that is not listed": [Call("soid", None, 2, 3, None)],
    "a write that brings it back": [
        Call("kill", None, 2, 3, 1),
        a_set(4, 5, 2, 1, {"b": 2}, a=1, b=2),
    ],
    "an unknown write that happened twice": [
        Call("set", {"a": 2}, 2, 3, None, "no answer in time"),
        a_get(4, 5, 2, 2, a=2),
        a_set(6, 7, 3, 2, {"a": 3}, a=3),
        a_get(8, 9, 4, 3, a=2),
    ],
}


@pytest.mark.parametrize("calls", WRONG.values(), ids=WRONG)
def test_wrong_histories_of_a_session_are_found(calls: list[Call]) -> None:
    assert any(text.startswith("not linearizable") for text in found(*calls))


def test_unknown_calls_may_have_happened_or_not() -> None:
    unknown = Call("set", {"a": 2}, 2, 3, None, "no answer in time")
    assert found(unknown, a_get(4, 5, 1, 2, a=1), a_get(6, 7, 2, 3, a=2)) == []
    assert found(Call("kill", None, 2, 3, None, "no answer in time"), a_get(4, 5, 1, 2, a=1)) == []
    lost = Call("create", {"a": 1}, 0, 1, None, "no answer in time")
    listed = Call("soid", None, 2, 3, Seen(1, {"a": 1}, 1))
    assert list(violations([lost, Call("soid", None, 2, 3, None)], NO_CUTS)) == []
    assert list(violations([lost, listed], NO_CUTS)) == []


def test_a_read_counter_is_between_what_was_acknowledged_and_that_and_what_is_unknown() -> None:
    lost = Call("get", None, 2, 3, None, "no answer in time")
    assert found(lost, a_get(4, 5, 1, 2, a=1)) == []
    assert found(lost, a_get(4, 5, 1, 3, a=1)) == []
    (text,) = found(lost, a_get(4, 5, 1, 4, a=1))
    assert text.startswith("r is not between 2 and 3: get")
    (text,) = found(a_get(2, 3, 1, 2, a=1), a_set(4, 5, 2, 1, {"a": 2}, a=2))
    assert text.startswith("r is not between 2 and 2: set")


def test_only_a_read_whose_connection_was_cut_may_count_twice() -> None:
    twice = a_get(4, 5, 1, 3, a=1)
    assert found(twice, cuts=Cuts([(1, 2), (4.4, 4.5), (7, 8)])) == []
    assert found(twice, cuts=Cuts([(1, 2), (7, 8)])) != []


def test_two_reads_with_one_number_are_found() -> None:
    assert "two reads have the same number" in found(a_get(2, 9, 1, 3, a=1), a_get(2, 9, 1, 3, a=1))


# ------------------------------------------------------------------------------------------ the attack


def test_a_short_attack_finds_nothing_and_loses_answers() -> None:
    """Calls of every kind from several processes, of which some ended in time-outs and in cut connections."""
    enough = {"calls": 1000, "sessions": 11, "sessions that were killed": 0}
    figures = attacked(linearizability.attack, 11, 3, enough)
    unknown = {name: number for name, number in figures.items() if name.startswith("unknown")}
    assert sum(number for name, number in unknown.items() if name.endswith("no answer in time")) > 10
    assert any(name.startswith("unknown: set") for name in unknown)
    assert any(name.startswith("unknown: get") for name in unknown)
