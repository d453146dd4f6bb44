"""The calls of a client, what each answers where nothing is wrong, and of which form an answer always is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from memsessions import NewSession, SessionsClient

APP = "forum"
USER = "user1234"
SECRET = "rosebud-0123456789"
UNKNOWN = "0" * 59 + "00EFq"


class Call(NamedTuple):
    """A call of the client, and what is right."""

    make: Callable[[SessionsClient, dict[str, str]], Any]
    right: Callable[[Any], bool]  # whether this is what an undisturbed call answers
    well_formed: Callable[[Any], bool]  # whether it is at least of that kind
    one_deadline: bool = True  # for all of its packets together; else each has one
    cleans_up: bool = False  # after a failure, over another connection, which then stays


def is_session(shown: Any) -> bool:
    """A map of the right keys and types."""
    if type(shown) is not dict:
        return False
    types: dict[str, Any] = {
        "id": str,
        "r": int,
        "w": int,
        "idle": int,
        "ttl": int,
        "ip": str,
        "d": (dict, type(None)),
    }
    fixed = shown.get("no_resave", ...)
    return (
        list(shown) == [*types, *(["no_resave"] if fixed is not ... else [])]
        and all(isinstance(shown[key], kind) for key, kind in types.items())
        and not any(isinstance(shown[key], bool) for key in ("r", "w", "idle", "ttl"))
        and fixed in (..., True)
        and shown["idle"] >= 0
    )


def _is_session_or_none(shown: Any) -> bool:
    return shown is None or is_session(shown)


def _are_sessions(shown: Any) -> bool:
    return type(shown) is list and all(map(is_session, shown))


def _is_count(name: str, *right: int) -> Callable[[Any], bool]:
    def check(answer: Any) -> bool:
        if type(answer) is not dict or list(answer) != [name] or type(answer[name]) is not int:
            return False
        return answer[name] in right if right else bool(answer[name] >= 0)

    return check


def _is_token(answer: Any) -> bool:
    return type(answer) is dict and list(answer) == ["token"] and len(answer["token"]) == 64


def _is_one(ip: str, **more: Any) -> Callable[[Any], bool]:
    def check(shown: Any) -> bool:
        return is_session(shown) and (shown["id"], shown["ip"], shown["d"]) == (
            USER,
            ip,
            {"k": SECRET, **more},
        )

    return check


def _are(*expected: str) -> Callable[[Any], bool]:
    return lambda shown: _are_sessions(shown) and sorted(one["ip"] for one in shown) == sorted(expected)


def make_sessions(rs: SessionsClient) -> dict[str, str]:
    """What the calls are made for: the tokens of three living sessions, next to one that has ended."""
    rs.kill(APP, rs.create(APP, USER, "ended")["token"])
    return {
        "plain": rs.create(APP, USER, "plain", 3600, {"k": SECRET})["token"],
        "fixed": rs.create(APP, USER, "fixed", 3600, {"k": SECRET}, no_resave=True)["token"],
        "other": rs.create(APP, "other", "other", 3600, {"k": SECRET})["token"],
    }


NEW: NewSession = {"id": USER, "ip": "new", "ttl": 3600, "d": {"k": SECRET}}


def _are_tokens(answer: Any) -> bool:
    return type(answer) is list and len(answer) == 3 and all(map(_is_token, answer))


def _get_many(rs: SessionsClient, tokens: dict[str, str]) -> Any:
    return rs.get_many(APP, [tokens["plain"], UNKNOWN, tokens["fixed"], tokens["plain"]])


def _are_those(answer: Any) -> bool:
    plain, unknown, fixed, again = answer
    right = _is_one("plain")(plain) and _is_one("fixed")(fixed) and _is_one("plain")(again)
    return right and unknown is None and again["r"] == plain["r"] + 1


def _are_four(answer: Any) -> bool:
    return type(answer) is list and len(answer) == 4 and all(map(_is_session_or_none, answer))


CALLS = {
    "create_many": Call(
        lambda rs, _: rs.create_many(APP, [NEW] * 3), _are_tokens, _are_tokens, cleans_up=True
    ),
    "get_many": Call(_get_many, _are_those, _are_four, False),
    "kill_many": Call(
        lambda rs, t: rs.kill_many(APP, [t["plain"], t["fixed"]]), _is_count("kill", 2), _is_count("kill")
    ),
    "create": Call(lambda rs, _: rs.create(APP, USER, "new", 3600, {"k": SECRET}), _is_token, _is_token),
    "create in a new app": Call(lambda rs, _: rs.create("another", USER, "new"), _is_token, _is_token),
    "get": Call(lambda rs, t: rs.get(APP, t["plain"]), _is_one("plain"), _is_session_or_none),
    "get fixed": Call(lambda rs, t: rs.get(APP, t["fixed"]), _is_one("fixed"), _is_session_or_none),
    "get unknown": Call(lambda rs, _: rs.get(APP, UNKNOWN), lambda shown: shown is None, _is_session_or_none),
    "set": Call(lambda rs, t: rs.set(APP, t["plain"], {"n": 1}), _is_one("plain", n=1), _is_session_or_none),
    "set fixed": Call(
        lambda rs, t: rs.set(APP, t["fixed"], {"n": 1}), _is_one("fixed", n=1), _is_session_or_none
    ),
    "rotate": Call(
        lambda rs, t: rs.rotate(APP, t["plain"]), _is_token, lambda new: new is None or _is_token(new)
    ),
    "rotate fixed": Call(
        lambda rs, t: rs.rotate(APP, t["fixed"]), _is_token, lambda new: new is None or _is_token(new)
    ),
    "kill": Call(lambda rs, t: rs.kill(APP, t["plain"]), _is_count("kill", 1), _is_count("kill")),
    "kill fixed": Call(lambda rs, t: rs.kill(APP, t["fixed"]), _is_count("kill", 1), _is_count("kill")),
    "soid": Call(lambda rs, _: rs.soid(APP, USER), _are("plain", "fixed"), _are_sessions),
    "soapp": Call(lambda rs, _: rs.soapp(APP), _are("plain", "fixed", "other"), _are_sessions, False),
    "activity": Call(lambda rs, _: rs.activity(APP), _is_count("activity", 2), _is_count("activity"), False),
    "killsoid": Call(lambda rs, _: rs.killsoid(APP, USER), _is_count("kill", 2), _is_count("kill")),
    "killall": Call(lambda rs, _: rs.killall(APP), _is_count("kill", 3), _is_count("kill"), False),
    "wipe": Call(lambda rs, _: rs.wipe(), _is_count("wiped", 1), _is_count("wiped"), False),
    "ping": Call(lambda rs, _: rs.ping(), lambda answer: answer == "PONG", lambda answer: answer == "PONG"),
}
