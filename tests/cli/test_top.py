"""`top`: what it measures, how it shows that on a terminal of any size, and how it leaves the terminal."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Sequence

import pytest
from rich.console import Console

from memsessions import SessionsClient, operating
from memsessions.cli import codes
from memsessions.cli.top import gathering
from memsessions.cli.top.gathering import Gatherer
from memsessions.cli.top.readings import (
    AppNow,
    Counting,
    Latency,
    Point,
    Reading,
    ServerNow,
    percentile,
    rate,
)
from memsessions.cli.top.view import screen, size

from ..conftest import MakeClient, Where, every_where
from ..support.memcached import Memcached
from ..support.sessions import UNKNOWN
from .support import At, Terminal, ask

FORUM = AppNow("forum", 1200, 1100, 90, 3.5, 1.25, 2.25, 2500.0)
SHOP = AppNow("shop", 30, 30, 3)
UP = ServerNow(
    "10.0.0.1:11211",
    None,
    61 << 20,
    64 << 20,
    5000,
    17,
    12,
    0.5,
    90.0,
    10.0,
    Latency(600, 0.12, 0.5, 123.0),
)
AWAY = ServerNow("10.0.0.2:11211", "Connection refused")
POINTS = [
    Point(100.0 + n, {"forum": 1000 + n, "shop": 30}, 90.0 + n, 10.0, 3.0, 1.0, 0.2, 0.9) for n in range(60)
]


def reading(
    apps: Sequence[AppNow] = (FORUM, SHOP),
    servers: Sequence[ServerNow] = (UP,),
    counting: Counting = Counting(0.5, 0.01),  # noqa: B008
    points: Sequence[Point] = POINTS,
) -> Reading:
    return Reading(1_700_000_000.0, 2.0, apps, servers, counting, points)


def drawn(shown: Reading, width: int = 130, height: int = 40, **options: bool) -> str:
    """What a terminal of this size is sent."""
    out = io.StringIO()
    console = Console(file=out, width=width, height=height, color_system=None, **options)  # type: ignore[arg-type]
    console.print(screen(shown, width, height, "rs"))
    return out.getvalue()


# -------------------------------------------------------------------------------------------- view


def test_apps_and_servers_are_shown_with_their_rates() -> None:
    lines = drawn(reading()).splitlines()
    assert lines[0].startswith("memsessions top  ns rs")
    assert lines[0].endswith("every 2 s  q ends")
    forum, shop, server = (next(line for line in lines if line.startswith(name)) for name in APPS_AND_SERVER)
    assert forum.split() == ["forum", "1,200", "1,100", "90", "3.5", "1.2", "+2.2", "2,500"]
    assert shop.split() == ["shop", "30", "30", "3", "-", "-", "-", "-"]
    memory = ["61M", "of", "64M", "95%"]
    rates = ["12", "+0.5/s", "17", "90.0", "10.0", "90.0%", "0.12", "0.50", "123"]
    assert server.split() == ["10.0.0.1:11211", "up", *memory, *rates]


APPS_AND_SERVER = ("forum", "shop", "10.0.0.1")


def test_four_plots_are_shown_where_there_is_room() -> None:
    shown = drawn(reading())
    for title in ("reads per second", "sessions", "ping in ms", "sessions per second"):
        assert title in shown
    for label in ("hits", "misses", "forum", "shop", "p50", "p99", "created", "ended"):
        assert f"⢕⢕ {label}" in shown
    assert "-59 s" in shown


@pytest.mark.parametrize("width", [20, 40, 60, 80, 110, 200])
@pytest.mark.parametrize("height", [14, 18, 24, 40, 70])
def test_a_screen_is_never_larger_than_the_terminal(width: int, height: int) -> None:
    apps = [AppNow(f"app{n}-of-20-letters-x", n, n, n) for n in range(50)]
    servers = [UP, AWAY, *(ServerNow(f"10.0.0.{n}:11211", "no answer in time") for n in range(3, 9))]
    for shown in (reading(), reading(apps, servers), reading([], [], Counting(), [])):
        lines = drawn(shown, width, height).splitlines()
        assert len(lines) <= height
        assert max(map(len, lines)) <= width


def test_the_most_important_columns_stay_where_there_is_little_room() -> None:
    shown = drawn(reading(), 34)
    assert "app    sessions  users  active" in shown
    assert "created/s" not in shown
    assert "61M of 64M 95%" in shown


def test_the_largest_apps_are_shown_where_not_all_can_be() -> None:
    apps = [AppNow(f"app{n}", n, n, n) for n in range(50)]
    shown = drawn(reading(apps), 100, 20)
    assert "app49" in shown
    assert "app0 " not in shown
    hidden = 50 - sum(line.startswith("app") for line in shown.splitlines()[1:]) + 1  # and the head
    assert f"and {hidden} apps more" in shown


def test_a_server_that_is_away_is_shown_first_and_the_others_go_on() -> None:
    shown = drawn(reading(servers=[UP, AWAY], counting=Counting(75.0, 0.1, "10.0.0.2:11211: refused")))
    lines = shown.splitlines()
    assert "10.0.0.2:11211 is away: Connection refused" in lines
    assert "sessions cannot be counted: 10.0.0.2:11211: refused; the last time was 1 min 15 s ago" in lines
    servers = [line.split()[:2] for line in lines if line.startswith("10.") and "is away" not in line]
    assert servers == [["10.0.0.2:11211", "away"], ["10.0.0.1:11211", "up"]]


def test_what_is_not_known_yet_is_said() -> None:
    assert "counting the sessions …" in drawn(reading([], [], Counting(), []))
    assert "no app has had sessions here" in drawn(reading([], [UP]))
    late = reading(counting=Counting(20.0, 4.0))
    assert "counted 20 s ago, which took 4.0 s" in drawn(late)


def test_what_servers_say_is_not_obeyed() -> None:
    evil = "\x1b]0;owned\x07\x1b[2J[red]"
    shown = drawn(
        reading([AppNow(evil, 1, 1, 1)], [ServerNow(evil, evil)], Counting(1.0, 1.0, evil)),
        force_terminal=True,
    )
    assert "\x1b]" not in shown
    assert "\x1b[2J" not in shown
    assert r"\x1b]0;owned\x07\x1b[2J[red]" in shown


def test_sizes_percentiles_and_rates() -> None:
    assert [size(number) for number in (0, 1023, 1024, 1536, 64 << 20, 5 << 40)] == [
        *("0B", "1023B", "1K", "1.5K", "64M", "5T")
    ]
    ordered = [float(number) for number in range(1, 101)]
    assert [percentile(ordered, part) for part in (0.5, 0.95, 0.99, 1.0)] == [50.0, 95.0, 99.0, 100.0]
    assert [percentile([7.0], part) for part in (0.5, 0.99)] == [7.0, 7.0]
    assert percentile([], 0.5) is None
    assert rate(30, 10, 2.0) == 10.0
    assert rate(10, 30, 2.0) is rate(None, 1, 1.0) is rate(1, None, 1.0) is rate(1, 1, 0.0) is None


# --------------------------------------------------------------------------------------- gathering


@pytest.fixture(params=["memory", "memcached", "several memory", "several memcached"])
def anywhere(request: pytest.FixtureRequest) -> Where:
    """One store, and three that work as one."""
    return every_where(request)


@pytest.fixture
def client(anywhere: Where, make_client: MakeClient) -> SessionsClient:
    return make_client(anywhere.address, ns=anywhere.ns)


def counted(gatherer: Gatherer) -> gathering._Roll:
    gatherer._count(lambda: None)
    return gatherer._rolls["forum"]


def test_what_was_created_ended_and_read_between_two_counts(client: SessionsClient) -> None:
    """Those that came and went in between are among them; what is counted is not used."""
    tokens = [client.create("forum", f"user{n}", "10.0.0.1")["token"] for n in range(10)]
    gatherer = Gatherer(client, 1.0)
    before = counted(gatherer)
    for token in tokens[:3]:
        client.kill("forum", token)
    new = [client.create("forum", "new", "10.0.0.1")["token"] for _ in range(5)]
    client.kill("forum", new[0])
    for token in tokens[3:] * 2:
        client.get("forum", token)
    after = counted(gatherer)
    assert after.since(before) == (5, 4, 14)
    (app,) = gatherer._apps
    passed_s = after.at - before.at
    assert (app.sessions, app.users, app.active) == (11, 8, 8)
    assert app.created_per_s == pytest.approx(5 / passed_s)
    assert app.ended_per_s == pytest.approx(4 / passed_s)
    assert app.net_per_s == pytest.approx(1 / passed_s)
    assert app.reads_per_s == pytest.approx(14 / passed_s)
    assert counted(gatherer).since(after) == (0, 0, 0)


def test_looking_uses_and_renews_no_session(client: SessionsClient, anywhere: Where) -> None:
    token = client.create("forum", "alice", "10.0.0.1")["token"]
    anywhere.advance(100)
    gatherer = Gatherer(client, 0.1)
    gatherer.once()
    found = operating.peek(client, "forum", token)
    assert found is not None
    assert found.session["r"] == 1
    assert found.session["idle"] >= 100


def test_of_very_many_sessions_only_the_difference_is_told(
    client: SessionsClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "_REMEMBERED", 20)
    for n in range(30):
        client.create("forum", f"user{n}", "10.0.0.1")
    client.create("shop", "alice", "10.0.0.1")
    gatherer = Gatherer(client, 1.0)
    before = counted(gatherer)
    assert not before.living
    client.create("forum", "new", "10.0.0.1")
    after = counted(gatherer)
    forum, shop = gatherer._apps
    assert (forum.created_per_s, forum.ended_per_s, forum.reads_per_s) == (None, None, None)
    assert forum.net_per_s == pytest.approx(1 / (after.at - before.at))
    assert shop.created_per_s == 0


def test_hits_and_misses_are_reads_and_nothing_else(
    own_memcached: Memcached, make_client: MakeClient
) -> None:
    client = make_client(own_memcached.address)
    tokens = [client.create("forum", f"user{n}", "10.0.0.1")["token"] for n in range(4)]
    gatherer = Gatherer(client, 1.0)
    gatherer._look()
    at = gatherer._asked[own_memcached.address].at
    for token in tokens:
        client.get("forum", token)
    assert client.get("forum", UNKNOWN) is None
    client.set("forum", tokens[0], {"theme": "dark"})
    client.soapp("forum")
    client.soid("forum", "user1")
    client.kill("forum", tokens[1])
    gatherer._count(lambda: None)
    gatherer._look()
    passed_s = gatherer._asked[own_memcached.address].at - at
    (server,) = gatherer._servers
    assert server.hits_per_s == pytest.approx(4 / passed_s)
    assert server.misses_per_s == pytest.approx(1 / passed_s)


def test_a_server_that_was_started_anew_has_no_rates_at_first(
    own_memcached: Memcached, make_client: MakeClient
) -> None:
    client = make_client(own_memcached.address)
    token = client.create("forum", "alice", "10.0.0.1")["token"]
    gatherer = Gatherer(client, 1.0)
    gatherer._look()
    own_memcached.kill()
    gatherer._look()
    gatherer._count(lambda: None)
    (away,) = gatherer._servers
    assert away.error == "Connection refused"
    assert gatherer._counting_error == f"{own_memcached.address}: Connection refused"
    own_memcached.start()
    assert client.get("forum", token) is None
    gatherer._look()
    assert gatherer._servers[0].hits_per_s is None
    assert gatherer._servers[0].error is None


def test_somebody_elses_data_under_one_app_does_not_hide_the_others(
    own_memcached: Memcached, make_client: MakeClient
) -> None:
    client = make_client(own_memcached.address)
    client.create("forum", "alice", "10.0.0.1")
    client.create("shop", "alice", "10.0.0.1")
    (bucket,) = [key for key in own_memcached.keys("rs") if key.startswith("rs:forum:i:")]
    own_memcached.ask(b"append %b 0 0 1\r\nx\r\n" % bucket.encode(), b"\r\n")
    gatherer = Gatherer(client, 1.0)
    gatherer._count(lambda: None)
    assert [app.app for app in gatherer._apps] == ["shop"]
    assert gatherer._counting_error == "forum: an index item is not made of whole records"


# -------------------------------------------------------------------------------------------- once


def test_in_a_pipe_it_is_one_reading(at: At, rs: SessionsClient) -> None:
    rs.create("forum", "alice", "10.0.0.1")
    rs.create("shop", "bob", "10.0.0.1")
    done = at.ask("top", "--interval", "0.1")
    assert (done.code, done.err) == (0, "")
    apps, servers = done.out.split("\n\n")
    assert apps.splitlines()[0].split()[:4] == ["app", "sessions", "users", "active"]
    assert [line.split()[:4] for line in apps.splitlines()[1:]] == [
        ["forum", "1", "1", "1"],
        ["shop", "1", "1", "1"],
    ]
    assert servers.splitlines()[1].split()[:2] == [at.address, "up"]


def test_json_is_one_document(there: At, make_client: MakeClient) -> None:
    make_client(there.address, ns=there.ns).create("forum", "alice", "10.0.0.1")
    document = there.ask("top", "--interval", "0.2", "--json").document
    assert list(document) == ["time", "interval_s", "apps", "servers", "counting"]
    zeros = dict.fromkeys(["created_per_s", "ended_per_s", "net_per_s", "reads_per_s"], 0.0)
    assert document["apps"] == [{"app": "forum", "sessions": 1, "users": 1, "active": 1, **zeros}]
    (server,) = document["servers"]
    assert server["server"] == there.address
    assert server["error"] is None
    assert server["memory_limit_bytes"] == 512 << 20
    assert server["latency"]["pings"] >= 1
    assert 0 < server["latency"]["p50_ms"] <= server["latency"]["p99_ms"]
    assert document["counting"]["error"] is None


def test_only_the_apps_that_are_asked_for(at: At, rs: SessionsClient) -> None:
    for app in ("forum", "shop", "blog"):
        rs.create(app, "alice", "10.0.0.1")
    done = at.ask("top", "--interval", "0.1", "--app", "shop", "--app", "blog", "--json")
    assert [app["app"] for app in done.document["apps"]] == ["blog", "shop"]
    done = at.ask("top", "--app", "forun")
    assert done.code == codes.NOT_FOUND
    assert "there is no app forun" in done.err
    assert at.ask("top", "--app", "x").code == codes.USAGE
    assert at.ask("top", "--interval", "0").code == codes.USAGE


@pytest.mark.parametrize("seconds", ["nan", "inf", "3601", "0.09"])
def test_an_interval_is_a_time_that_can_be_waited_for(seconds: str) -> None:
    done = ask("top", "--interval", seconds, "--server", "127.0.0.1:1")
    assert (done.code, done.out) == (codes.USAGE, "")
    assert "--interval" in done.err


def test_a_server_that_is_away_is_in_the_answer_and_in_the_exit_code() -> None:
    done = ask("top", "--interval", "0.1", "--json", "--server", "127.0.0.1:1")
    assert done.code == codes.UNAVAILABLE
    assert done.document["servers"][0]["error"] == "Connection refused"
    assert done.document["apps"] == []
    assert done.err == "memsessions: 127.0.0.1:1: Connection refused\n"


# -------------------------------------------------------------------------------------------- live


def watching(server: Memcached, *more: str, **options: object) -> Terminal:
    arguments = ("--server", server.address, "top", "--interval", "0.2", *more)
    return Terminal(*arguments, **{"columns": 120, "rows": 36, **options})  # type: ignore[arg-type]


def wait_for_sessions(terminal: Terminal, **sessions: int) -> None:
    """Until the screen shows so many of each app."""
    give_up = time.monotonic() + 20
    wanted = {(app, str(number)) for app, number in sessions.items()}
    while not wanted <= {tuple(line.split()[:2]) for line in terminal.screen.splitlines()}:
        assert terminal._read(give_up - time.monotonic()), terminal.screen
        assert time.monotonic() < give_up, terminal.screen


def assert_left_as_it_was(terminal: Terminal) -> None:
    assert terminal.raw.count(b"\x1b[?1049h") == terminal.raw.count(b"\x1b[?1049l") == 1
    assert not terminal.cursor_hidden
    assert terminal.echoes()


def test_it_goes_on_until_q(own_memcached: Memcached, make_client: MakeClient) -> None:
    rs = make_client(own_memcached.address)
    rs.create("forum", "alice", "10.0.0.1")
    with watching(own_memcached) as terminal:
        terminal.wait_for("forum", own_memcached.address, "64M", "reads per second")
        wait_for_sessions(terminal, forum=1)
        assert terminal.cursor_hidden
        assert not terminal.echoes()
        token = rs.create("forum", "bob", "10.0.0.1")["token"]
        rs.create("shop", "bob", "10.0.0.1")
        wait_for_sessions(terminal, forum=2, shop=1)
        rs.kill("forum", token)
        wait_for_sessions(terminal, forum=1, shop=1)
        assert terminal.colours("up") == {"green"}
        terminal.type("x")  # which means nothing
        terminal.type("q")
        assert terminal.wait() == 0
        assert_left_as_it_was(terminal)


@pytest.mark.parametrize(("end", "code"), [("press_ctrl_c", codes.INTERRUPTED), ("terminate", 128 + 15)])
def test_a_signal_ends_it_and_leaves_the_terminal_as_it_was(
    own_memcached: Memcached, end: str, code: int
) -> None:
    with watching(own_memcached) as terminal:
        terminal.wait_for("no app has had sessions here")
        getattr(terminal, end)()
        assert terminal.wait() == code
        assert_left_as_it_was(terminal)
        assert b"Traceback" not in terminal.raw


def test_ctrl_c_ends_it_while_a_server_does_not_answer(own_memcached: Memcached) -> None:
    """Which is said long before the time is over that it has."""
    with watching(own_memcached, env={"MEMSESSIONS_TIMEOUT": "60"}) as terminal:
        terminal.wait_for("no app has had sessions here")
        own_memcached.freeze()
        terminal.wait_for("a server has not answered for 2 s")
        terminal.press_ctrl_c()
        assert terminal.wait() == codes.INTERRUPTED
        assert_left_as_it_was(terminal)


def test_a_server_that_does_not_answer_in_time_is_away(own_memcached: Memcached) -> None:
    with watching(own_memcached, env={"MEMSESSIONS_TIMEOUT": "0.5"}) as terminal:
        terminal.wait_for("no app has had sessions here")
        own_memcached.freeze()
        terminal.wait_for("is away: no answer in time")
        own_memcached.thaw()
        terminal.wait_for("up")
        terminal.type("q")
        assert terminal.wait() == 0


def test_a_bug_leaves_the_terminal_as_it_was_too(own_memcached: Memcached) -> None:
    bad = """
import sys
from memsessions.cli import main
from memsessions.cli.top import gathering
def fail(self, *_):
    raise RuntimeError("a bug")
gathering.Gatherer._look = fail
sys.exit(main())
"""
    with watching(own_memcached, program=(sys.executable, "-c", bad)) as terminal:
        assert terminal.wait() == codes.BUG
        assert_left_as_it_was(terminal)
        assert b"RuntimeError: a bug" in terminal.raw.partition(b"\x1b[?1049l")[2]


def test_it_follows_the_size_of_the_terminal(own_memcached: Memcached, make_client: MakeClient) -> None:
    make_client(own_memcached.address).create("forum", "alice", "10.0.0.1")
    with watching(own_memcached) as terminal:
        terminal.wait_for("sessions per second", "net/s", "p95 ms")
        terminal.resize(50, 14)
        give_up = time.monotonic() + 20
        while not terminal.screen.startswith("memsessions top") or "net/s" in terminal.screen:
            assert terminal._read(give_up - time.monotonic()), terminal.screen
        terminal.wait_for("forum", own_memcached.address)
        assert "sessions per second" not in terminal.screen
        terminal.resize(120, 36)
        terminal.wait_for("sessions per second", "net/s", "p95 ms")
        terminal.type("q")
        assert terminal.wait() == 0


def test_a_server_that_goes_away_and_comes_back(own_memcached: Memcached, make_client: MakeClient) -> None:
    rs = make_client(own_memcached.address)
    rs.create("forum", "alice", "10.0.0.1")
    with watching(own_memcached) as terminal:
        wait_for_sessions(terminal, forum=1)
        own_memcached.kill()
        terminal.wait_for("is away: Connection refused", "sessions cannot be counted", "forum")
        assert terminal.colours("away") == {"red"}
        own_memcached.start()
        rs.create("shop", "alice", "10.0.0.1")
        wait_for_sessions(terminal, shop=1)
        terminal.wait_for("up")
        assert "forum" not in "".join(terminal.screen.splitlines()[:5])
        terminal.type("q")
        assert terminal.wait() == 0


def test_it_begins_while_the_server_is_away() -> None:
    with Terminal("top", "--interval", "0.2", "--server", "127.0.0.1:1", "--app", "forum") as terminal:
        terminal.wait_for("127.0.0.1:1 is away: Connection refused")
        terminal.type("q")
        assert terminal.wait() == 0


def test_without_a_keyboard_ctrl_c_ends_it(own_memcached: Memcached) -> None:
    shell = ("/bin/sh", "-c", 'exec "$0" -m memsessions "$@" </dev/null', sys.executable)
    with watching(own_memcached, program=shell) as terminal:
        terminal.wait_for("no app has had sessions here")
        terminal.press_ctrl_c()
        assert terminal.wait() == codes.INTERRUPTED
        assert_left_as_it_was(terminal)


def test_no_colour_where_none_is_wanted(own_memcached: Memcached) -> None:
    with watching(own_memcached, env={"NO_COLOR": "1"}) as terminal:
        terminal.wait_for("up", "⢕⢕ hits")
        assert terminal.colours("up") == {"default"}
        assert terminal.colours("⢕⢕ hits") == {"default"}
        terminal.type("q")
        assert terminal.wait() == 0


def test_on_a_dumb_terminal_it_is_one_reading(own_memcached: Memcached) -> None:
    with watching(own_memcached, env={"TERM": "dumb"}) as terminal:
        assert terminal.wait() == 0
        assert b"\x1b[?1049h" not in terminal.raw
        assert own_memcached.address in terminal.screen


def wait_for_screens(terminal: Terminal, number: int) -> None:
    """Until it has drawn on a screen of its own so many times."""
    give_up = time.monotonic() + 20
    while terminal.raw.count(b"\x1b[?1049h") < number:
        assert time.monotonic() < give_up, terminal.screen
        terminal._read(0.2)


def test_ctrl_z_gives_the_terminal_back_for_a_while(own_memcached: Memcached) -> None:
    shell = ("/bin/bash", "-mc", '"$0" -m memsessions "$@"; echo stopped; read; fg', sys.executable)
    with watching(own_memcached, program=shell) as terminal:
        terminal.wait_for("no app has had sessions here")
        terminal.press("\x1a")
        terminal.wait_for("stopped")
        assert_left_as_it_was(terminal)
        terminal.type("\n")
        terminal.wait_for("no app has had sessions here")
        wait_for_screens(terminal, 2)
        terminal.type("q")
        assert terminal.wait() == 0
        assert terminal.raw.count(b"\x1b[?1049l") == 2
        assert terminal.echoes()


def test_ctrl_z_does_not_stop_it_where_nobody_could_let_it_go_on(own_memcached: Memcached) -> None:
    """No shell with job control has started it: it draws everything again."""
    with watching(own_memcached) as terminal:
        terminal.wait_for("no app has had sessions here")
        terminal.press("\x1a")
        wait_for_screens(terminal, 2)
        terminal.wait_for("no app has had sessions here")
        terminal.type("q")
        assert terminal.wait() == 0
        assert terminal.echoes()


def test_ctrl_z_stays_ignored_where_it_was(own_memcached: Memcached, make_client: MakeClient) -> None:
    shell = ("/bin/sh", "-c", 'trap "" TSTP; exec "$0" -m memsessions "$@"', sys.executable)
    with watching(own_memcached, program=shell) as terminal:
        terminal.wait_for("no app has had sessions here")
        terminal.press("\x1a")
        make_client(own_memcached.address).create("forum", "alice", "10.0.0.1")
        wait_for_sessions(terminal, forum=1)
        terminal.type("q")
        assert terminal.wait() == 0
        assert_left_as_it_was(terminal)
