"""The interface as type checkers see it, and what the package exports."""

from __future__ import annotations

import configparser
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, get_type_hints, is_typeddict

import pytest

import memsessions
from memsessions import (
    Activity,
    ClientClosed,
    ConfigurationError,
    Created,
    Data,
    InvalidFormat,
    InvalidValue,
    Killed,
    MemsessionsError,
    MissingParameter,
    NewSession,
    Repaired,
    Scalar,
    Session,
    SessionsClient,
    SessionTooLarge,
    StoreError,
    StoreFull,
    StoreUnavailable,
    ValidationError,
    Wiped,
    repair,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymemcache import Client, PooledClient
    from typing_extensions import assert_type

    from memsessions.metrics import Snapshot

    # None of this is run: mypy reads it, in strict mode, and an ignore that is not needed is an error too.

    def what_is_imported_late_has_its_type(rs: SessionsClient) -> None:
        assert_type(memsessions.metrics.snapshot(rs), Snapshot)
        assert_type(memsessions.repair(rs), dict[str, Repaired])
        assert_type(memsessions.__version__, str)
        memsessions.nothing  # type: ignore[attr-defined]  # noqa: B018

    def every_answer_has_its_type(rs: SessionsClient, data: Mapping[str, Scalar]) -> None:
        assert_type(rs.create("forum", "user", "192.0.2.1"), Created)
        assert_type(rs.create("forum", "user", "192.0.2.1", 60, data, True), Created)
        assert_type(
            rs.create(app="forum", id="user", ip="192.0.2.1", ttl=60, d=None, no_resave=True), Created
        )
        assert_type(rs.create("forum", "user", "192.0.2.1")["token"], str)
        assert_type(rs.get("forum", "token"), Session | None)
        assert_type(
            rs.set("forum", "token", {"text": "x", "n": 1, "f": 0.5, "b": True, "gone": None}), Session | None
        )
        assert_type(rs.set("forum", "token", data), Session | None)
        assert_type(rs.kill("forum", "token"), Killed)
        assert_type(rs.create_many("forum", [{"id": "user", "ip": "192.0.2.1"}]), list[Created])
        assert_type(rs.get_many("forum", ["token"]), list[Session | None])
        assert_type(
            rs.get_many("forum", (made["token"] for made in rs.create_many("forum", []))),
            list[Session | None],
        )
        assert_type(rs.kill_many("forum", {"token"}), Killed)
        assert_type(rs.rotate("forum", "token"), Created | None)
        assert_type(rs.soid("forum", "user"), list[Session])
        assert_type(rs.soapp("forum"), list[Session])
        assert_type(rs.soapp("forum", dt=60), list[Session])
        assert_type(rs.iter_soapp("forum"), Iterator[Session])
        assert_type(rs.iter_soapp("forum", dt=60), Iterator[Session])
        assert_type(rs.activity("forum", dt=60), Activity)
        assert_type(rs.activity("forum")["activity"], int)
        assert_type(rs.killsoid("forum", "user")["kill"], int)
        assert_type(rs.killall("forum"), Killed)
        assert_type(repair(rs), dict[str, Repaired])
        assert_type(repair(rs, lambda done, total: print(done / total))["forum"]["relisted"], int)
        assert_type(rs.wipe(), Wiped)
        assert_type(rs.wipe()["wiped"], int)
        assert_type(rs.ping(), str)
        with SessionsClient() as entered:
            assert_type(entered, SessionsClient)

    def every_key_of_a_session_has_its_type(session: Session) -> None:
        assert_type(session["id"], str)
        assert_type(session["r"], int)
        assert_type(session["w"], int)
        assert_type(session["idle"], int)
        assert_type(session["ttl"], int)
        assert_type(session["ip"], str)
        assert_type(session["d"], Data | None)
        assert_type(session.get("no_resave", False), bool)
        if session["d"] is not None:
            assert_type(session["d"]["key"], str | int | float | bool)

    def many_sessions_are_given_in_every_documented_way(
        rs: SessionsClient, data: Mapping[str, Scalar]
    ) -> None:
        new: NewSession = {"id": "user", "ip": "192.0.2.1", "ttl": 60, "d": data, "no_resave": True}
        rs.create_many("forum", [new, {"id": "user", "ip": "192.0.2.1", "d": None}])
        rs.create_many("forum", ({"id": f"user{n}", "ip": "192.0.2.1", "d": {"n": n}} for n in range(9)))
        rs.create("forum", **new)

    def a_client_is_made_in_every_documented_way(client: Client, pooled: PooledClient) -> None:
        SessionsClient()
        SessionsClient("127.0.0.1:11211", ns="rs", wipe=600, cachetime=2, cachemax=10)
        SessionsClient(("127.0.0.1", 11211), timeout=0.5, connect_timeout=0.25, tls_context=None)
        SessionsClient(client=client)
        SessionsClient(client=pooled)
        SessionsClient(username="me", password="secret", max_item_bytes=4096)
        assert_type(SessionsClient.from_env(), SessionsClient)
        assert_type(SessionsClient.from_env({"MEMSESSIONS_NS": "rs"}, wipe=0), SessionsClient)

    def what_is_wrong_is_seen_before_it_runs(rs: SessionsClient, session: Session) -> None:
        rs.get("forum")  # type: ignore[call-arg]
        rs.get("forum", b"token")  # type: ignore[arg-type]
        rs.get("forum", "token")["id"]  # type: ignore[index]
        rs.rotate("forum", "token")["token"]  # type: ignore[index]
        rs.get_many("forum", [b"token"])  # type: ignore[list-item]
        rs.get_many("forum", ["token"])[0]["id"]  # type: ignore[index]
        rs.create_many("forum", [{"id": "user"}])  # type: ignore[typeddict-item]
        rs.create_many("forum", [{"id": "user", "ip": "192.0.2.1", "app": "x"}])  # type: ignore[typeddict-unknown-key]
        rs.create("forum", 7, "192.0.2.1")  # type: ignore[arg-type]
        rs.create("forum", "user", "192.0.2.1", ttl="60")  # type: ignore[arg-type]
        rs.set("forum", "token", {"k": [1]})  # type: ignore[dict-item]
        rs.set("forum", "token", {"k": b"x"})  # type: ignore[dict-item]
        rs.set("forum", "token", {1: "x"})  # type: ignore[dict-item]
        rs.set("forum", "token", None)  # type: ignore[arg-type]
        rs.soapp("forum", "60")  # type: ignore[arg-type]
        session["token"]  # type: ignore[typeddict-item]
        SessionsClient("127.0.0.1", namespace="rs")  # type: ignore[call-arg]
        SessionsClient(5)  # type: ignore[arg-type]

    def an_error_says_where_it_came_from(refused: ValidationError, outage: StoreUnavailable) -> None:
        assert_type(refused.name, str)
        assert_type(outage.server, str)
        assert_type(outage.reason, str)


def test_every_exported_name_can_be_imported() -> None:
    package = importlib.import_module("memsessions")
    assert [name for name in memsessions.__all__ if not hasattr(package, name)] == []


def test_the_exported_names_are_sorted_as_ruff_wants_them() -> None:
    """CONSTANTS first, then Classes, then everything else; no name stands there twice."""

    def key(name: str) -> tuple[int, str]:
        kind = 0 if name.isupper() else 1 if name[0].isupper() else 2
        return kind, name

    assert memsessions.__all__ == sorted(set(memsessions.__all__), key=key)


def test_everything_public_in_the_package_is_exported() -> None:
    """A class that can be reached as `memsessions.Name` is in `__all__`, with two others, and no more."""
    classes = {name for name, value in vars(memsessions).items() if isinstance(value, type)}
    others = {"Data", "Scalar", "metrics", "repair"}
    assert set(memsessions.__all__) == classes | others


def test_the_shapes_can_be_looked_into_at_run_time() -> None:
    """As who validates a request or an answer by them does."""
    shapes = [shape for name in memsessions.__all__ if is_typeddict(shape := getattr(memsessions, name))]
    assert len(shapes) == 7
    for shape in shapes:
        hints = get_type_hints(shape)
        assert hints.keys() == shape.__required_keys__ | shape.__optional_keys__
    assert get_type_hints(NewSession)["d"] == Mapping[str, Scalar] | None
    assert get_type_hints(Session)["d"] == Data | None


def test_the_version_is_the_one_in_setup_cfg() -> None:
    setup = configparser.ConfigParser()
    setup.read(Path(__file__).parents[1] / "setup.cfg", encoding="utf-8")
    assert memsessions.__version__ == setup["metadata"]["version"]


def test_a_name_that_the_package_does_not_have_is_an_attribute_error() -> None:
    missing = "nothing_of_this_name"
    with pytest.raises(AttributeError, match="module 'memsessions' has no attribute 'nothing_of_this_name'"):
        getattr(memsessions, missing)


def test_the_package_tells_type_checkers_that_it_is_typed() -> None:
    assert (Path(memsessions.__file__).parent / "py.typed").is_file()


@pytest.mark.parametrize(
    ("kind", "bases"),
    [
        (ConfigurationError, (ValueError,)),
        (ClientClosed, (RuntimeError,)),
        (MissingParameter, (ValidationError, ValueError)),
        (InvalidFormat, (ValidationError, ValueError)),
        (InvalidValue, (ValidationError, ValueError)),
        (SessionTooLarge, (ValidationError, InvalidValue, ValueError)),
        (StoreUnavailable, (StoreError,)),
        (StoreFull, (StoreError,)),
    ],
)
def test_every_error_is_caught_by_the_family_it_belongs_to(
    kind: type[BaseException], bases: tuple[type[BaseException], ...]
) -> None:
    assert issubclass(kind, (MemsessionsError,))
    assert [base for base in bases if not issubclass(kind, base)] == []


def test_all_errors_of_the_package_have_one_base() -> None:
    exported = [getattr(memsessions, name) for name in memsessions.__all__]
    errors = [kind for kind in exported if isinstance(kind, type) and issubclass(kind, BaseException)]
    assert len(errors) > 10
    assert [kind for kind in errors if not issubclass(kind, MemsessionsError)] == []
