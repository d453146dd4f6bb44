"""A call that is interrupted, wherever, spoils nothing: replies are not mixed up, no connection is lost."""

from __future__ import annotations

import contextlib
import gc
import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from pymemcache import PooledClient

from memsessions import NewSession, SessionsClient, StoreUnavailable, repair, scans
from memsessions.store.operations import Read

from .conftest import MakeClient, OnMemcached, Where, every_where
from .support.fakes import FullBacklog
from .support.injection import at_line
from .support.interrupting import INTERRUPTS, Stop, stop_thread, was_interrupted
from .support.memcached import Memcached
from .support.proxy import Proxy

# A socket that was just being opened when its maker was interrupted is closed by its finalizer, which warns.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.no_cover,  # an exception that a signal raises inside coverage's tracer can stop it for good
]

APP = "forum"
IP = "127.0.0.1"


@pytest.fixture(autouse=True)
def _finalizers_may_be_interrupted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What is raised while a finalizer runs cannot come out of it; Python says so, and it is no failure."""
    before = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        if not issubclass(unraisable.exc_type, INTERRUPTS):
            before(unraisable)

    monkeypatch.setattr(sys, "unraisablehook", hook)
    yield
    gc.collect()


class Sessions:
    """Some sessions, each of which knows its own number."""

    def __init__(self, rs: SessionsClient, number: int = 20) -> None:
        self.rs = rs
        self.tokens = [rs.create(APP, f"user{n}", IP, d={"n": n})["token"] for n in range(number)]

    def check(self, number: int, session: Any) -> None:
        """That this is the session which was asked for."""
        assert session is not None
        assert (session["id"], session["d"]["n"]) == (f"user{number}", number)

    def get(self, number: int) -> None:
        self.check(number, self.rs.get(APP, self.tokens[number]))

    def set(self, number: int) -> None:
        self.check(number, self.rs.set(APP, self.tokens[number], {"seen": True}))

    def get_many(self, number: int) -> None:
        numbers = [number, 1, 2, 3, number]
        sessions = self.rs.get_many(APP, [self.tokens[each] for each in numbers])
        for each, session in zip(numbers, sessions, strict=True):
            self.check(each, session)

    def kill_many(self, _number: int) -> None:
        assert self.rs.kill_many(APP, ["0" * 64, "1" * 64]) == {"kill": 0}

    def create_many(self, number: int) -> None:
        new: list[NewSession] = [{"id": f"new{n}", "ip": IP, "d": {"n": n}} for n in (number, -1, -2)]
        tokens = [made["token"] for made in self.rs.create_many("another", new)]
        for each, session in zip(new, self.rs.get_many("another", tokens), strict=True):
            assert session is not None
            assert (session["id"], session["d"]) == (each["id"], each["d"])
        assert self.rs.kill_many("another", tokens) == {"kill": 3}

    def soid(self, number: int) -> None:
        (session,) = self.rs.soid(APP, f"user{number}")
        self.check(number, session)

    def soapp(self, _number: int) -> None:
        for session in self.rs.soapp(APP):
            assert session["d"] is not None
            self.check(int(session["id"][4:]), session)

    def iter_soapp(self, _number: int) -> None:
        for session in self.rs.iter_soapp(APP):
            self.check(int(session["id"][4:]), session)

    def repair(self, _number: int) -> None:
        assert repair(self.rs)[APP]["listed"] == len(self.tokens)

    def activity(self, _number: int) -> None:
        assert self.rs.activity(APP) == {"activity": len(self.tokens)}

    def unknown(self, _number: int) -> None:
        assert self.rs.get(APP, "0" * 64) is None
        assert self.rs.soid(APP, "nobody") == []

    def create(self, number: int) -> None:
        token = self.rs.create("another", f"new{number}", IP, d={"n": -number})["token"]
        session = self.rs.get("another", token)
        assert session is not None
        assert (session["id"], session["d"]) == (f"new{number}", {"n": -number})

    def check_all(self) -> None:
        for number in range(len(self.tokens)):
            self.get(number)
            self.soid(number)

    @property
    def calls(self) -> list[Callable[[int], None]]:
        return [
            *(self.get, self.get, self.set, self.soid, self.soapp, self.iter_soapp),
            *(self.activity, self.unknown, self.create),
            *(self.get_many, self.kill_many, self.create_many),
        ]


def connections(server: Memcached, at_most: int) -> int:
    """How many connections the server has, once it has noticed what was closed."""
    gc.collect()
    return server.connections(at_most)


@pytest.fixture
def alarm() -> Iterator[Callable[[Callable[[], BaseException]], None]]:
    """Sets what SIGALRM raises, once: the timer ends with it."""

    def raising(make: Callable[[], BaseException]) -> None:
        def handler(_number: int, _frame: object) -> None:
            signal.setitimer(signal.ITIMER_REAL, 0)
            raise make()

        signal.signal(signal.SIGALRM, handler)

    before = signal.getsignal(signal.SIGALRM)
    yield raising
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


Alarm = Callable[[Callable[[], BaseException]], None]


def alarm_after(seconds: float) -> None:
    """An alarm for a call that waits.

    Again and again, as Python does not notice one that comes just before it begins to wait until that ends.
    """
    signal.setitimer(signal.ITIMER_REAL, seconds, seconds)


@contextlib.contextmanager
def alarm_when(ready: threading.Event) -> Iterator[None]:
    """An alarm for a call that waits, as soon as it has come so far."""

    def wait() -> None:
        if ready.wait(20):
            alarm_after(0.01)

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        yield
    finally:
        ready.set()
        thread.join()
        signal.setitimer(signal.ITIMER_REAL, 0)


# ---------------------------------------------------------------------------------- at any time at all


@pytest.mark.parametrize("kind", ["own", "shared"])
def test_interrupts_at_any_time_never_mix_up_replies(
    own_memcached: Memcached, make_client: MakeClient, alarm: Alarm, kind: str
) -> None:
    """Signals in the middle of every kind of call; each answer is that of the session asked for."""
    options: dict[str, Any] = {}
    if kind == "shared":
        options["client"] = PooledClient(("127.0.0.1", own_memcached.port))
    else:
        options["servers"] = own_memcached.address
    sessions = Sessions(make_client(**options))
    dice = random.Random(4711)
    interrupted = 0
    stop = time.monotonic() + 1.5
    while time.monotonic() < stop or (interrupted <= 100 and time.monotonic() < stop + 60):
        alarm(dice.choice(INTERRUPTS))
        call, number = dice.choice(sessions.calls), dice.randrange(len(sessions.tokens))
        interrupted += was_interrupted(partial(call, number), dice.uniform(1e-6, 8e-4))
    assert interrupted > 100
    sessions.check_all()
    if kind == "own":
        assert connections(own_memcached, 2) <= 2
    else:
        options["client"].close()


# With every how manieth line to stop at: a scan has thousands.
CALLS = [
    ("get", 1),
    ("set", 1),
    ("soid", 1),
    ("soapp", 13),
    ("iter_soapp", 13),
    ("repair", 23),
    ("create", 1),
    ("create_many", 5),
    ("get_many", 3),
    ("kill_many", 1),
]


@pytest.mark.parametrize("kind", ["first call", "later call"])
@pytest.mark.parametrize(("name", "step"), CALLS)
def test_an_interrupt_at_any_line_leaves_nothing_behind(
    own_memcached: Memcached, make_client: MakeClient, name: str, step: int, kind: str
) -> None:
    """Line by line: the next call is right, and no connection is left over."""
    sessions = Sessions(make_client(own_memcached.address), 4)
    line = 0
    reached = True
    while reached:
        line += step
        if kind == "first call":
            sessions.rs.quit()
            sessions.rs = make_client(own_memcached.address)
        with contextlib.suppress(Stop):
            _, reached = at_line(line, _stop, lambda: getattr(sessions, name)(0))
        sessions.get(1)
        sessions.soid(2)
    assert line > 50
    assert connections(own_memcached, 2) <= 2


def _stop() -> None:
    raise Stop


@pytest.mark.parametrize("kind", ["first call", "later call"])
@pytest.mark.parametrize("name", ["get", "set"])
def test_an_interrupt_at_any_line_costs_a_shared_pool_no_place(
    own_memcached: Memcached, make_client: MakeClient, name: str, kind: str
) -> None:
    sessions = Sessions(make_client(own_memcached.address), 4)
    lost = []
    line = 0
    reached = True
    while reached:
        line += 1
        shared = PooledClient(("127.0.0.1", own_memcached.port), max_pool_size=2)
        sessions.rs = make_client(client=shared)
        if kind == "later call":
            sessions.get(0)
        with contextlib.suppress(Stop):
            _, reached = at_line(line, _stop, lambda: getattr(sessions, name)(0))
        sessions.get(1)  # if one place was lost, there is another
        if shared.client_pool.used:
            lost.append(line)
        shared.close()
    assert line > 50
    assert lost == [], "interrupted there, it never gave its place in the pool back"


# ------------------------------------------------------------------------------------- what comes out


ERRORS = [
    TimeoutError("mine"),
    OSError("mine"),
    ConnectionResetError("mine"),
    BrokenPipeError("mine"),
    RuntimeError("mine"),
    ValueError("mine"),
    StopIteration("mine"),
    KeyboardInterrupt("mine"),
    SystemExit(3),
]


@pytest.mark.parametrize("error", ERRORS, ids=repr)
@pytest.mark.parametrize("moment", ["connecting", "first reply", "reply"])
def test_what_a_signal_handler_raises_comes_out_as_it_is(
    memcached: Memcached,
    on_memcached: OnMemcached,
    make_client: MakeClient,
    alarm: Alarm,
    error: BaseException,
    moment: str,
) -> None:
    """Not taken for a failure of the network, whatever its type, and not kept for a later call."""
    with Proxy(("127.0.0.1", memcached.port)) as proxy, FullBacklog() as silent:
        address = silent.address if moment == "connecting" else proxy.address
        rs = make_client(address, ns=on_memcached.ns, timeout=60, connect_timeout=60)
        if moment == "reply":
            rs.ping()
        proxy.hole = True
        alarm(lambda: error)
        started = time.monotonic()
        with pytest.raises(type(error)) as caught:  # noqa: PT012  the timer is set as late as can be
            alarm_after(0.03)
            rs.get(APP, "0" * 64)
        assert caught.value is error
        assert time.monotonic() - started < 30, "it waited for the server"
        proxy.hole = False
        if moment != "connecting":
            assert rs.get(APP, "0" * 64) is None


def test_an_interrupt_while_waiting_closes_the_connection(
    memcached: Memcached, make_client: MakeClient, alarm: Alarm
) -> None:
    with Proxy(("127.0.0.1", memcached.port)) as proxy:
        rs = make_client(proxy.address, timeout=60)
        rs.ping()
        asked, interrupted, answered = (threading.Event() for _ in range(3))

        def hold(chunk: bytes) -> bytes:
            asked.set()
            assert interrupted.wait(20)
            answered.set()
            return chunk

        proxy.to_client = hold
        alarm(KeyboardInterrupt)
        with alarm_when(asked), pytest.raises(KeyboardInterrupt):
            rs.get(APP, "0" * 64)
        interrupted.set()
        assert answered.wait(20)  # the reply has come that nobody waits for
        assert rs.ping() == "PONG"
        assert proxy.connections == 2


def test_a_handler_that_returns_does_not_disturb_a_call(
    memcached: Memcached, on_memcached: OnMemcached, make_client: MakeClient
) -> None:
    """Also one that uses the same client itself."""
    rs = make_client(memcached.address, ns=on_memcached.ns, cachetime=1)
    sessions = Sessions(rs)
    inside = 0
    over = False

    def handler(_number: int, _frame: object) -> None:
        nonlocal inside
        inside += 1
        sessions.get(inside % 20)
        sessions.set(inside % 20)
        if not over:  # only now: on a busy machine it would come in the handler, again and again
            signal.setitimer(signal.ITIMER_REAL, 0.0017)

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.001)
        stop = time.monotonic() + 0.5
        number = 0
        while time.monotonic() < stop or (inside <= 20 and time.monotonic() < stop + 60):
            number += 1
            for call in sessions.calls:
                call(number % 20)
    finally:
        over = True
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert inside > 20
    sessions.check_all()


# --------------------------------------------------------------------------------- abandoned generators


def test_a_scan_that_is_abandoned_leaves_nothing_behind(
    own_memcached: Memcached, make_client: MakeClient
) -> None:
    sessions = Sessions(make_client(own_memcached.address))
    store = sessions.rs._nodes[0].store
    for _ in range(30):
        stream = store.stream([(Read(b"none"),)] * 10)
        next(stream)
        del stream
        sessions.get(7)
    assert connections(own_memcached, 1) <= 1


def test_a_scan_whose_reader_fails_leaves_nothing_behind(
    own_memcached: Memcached, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a callback in the middle of it raises."""
    sessions = Sessions(make_client(own_memcached.address), 300)
    decoded = scans.decoded

    def failing(*arguments: Any) -> Any:
        yield next(iter(decoded(*arguments)))
        raise Stop

    for _ in range(10):
        with monkeypatch.context() as patched:
            patched.setattr(scans, "decoded", failing)
            with pytest.raises(Stop):
                sessions.rs.soapp(APP)
        sessions.soapp(0)
    assert connections(own_memcached, 2) <= 2


# ----------------------------------------------------------------------------------------------- threads


class Victim(threading.Thread):
    """Works until it is interrupted, once."""

    def __init__(self, sessions: Sessions, seed: int) -> None:
        super().__init__(daemon=True)
        self.ready = threading.Event()
        self.failure: BaseException | None = None
        self._sessions = sessions
        self._dice = random.Random(seed)

    def run(self) -> None:
        try:
            self.ready.set()
            while True:
                self._dice.choice(self._sessions.calls)(self._dice.randrange(20))
        except Stop:
            pass
        except BaseException as error:  # noqa: BLE001
            self.failure = error


def test_interrupted_threads_leave_the_others_alone(
    own_memcached: Memcached, make_client: MakeClient
) -> None:
    """As by a watchdog that raises in a thread which takes too long."""
    sessions = Sessions(make_client(own_memcached.address))
    dice = random.Random(42)
    for round_ in range(40):
        victims = [Victim(sessions, 10 * round_ + number) for number in range(3)]
        for victim in victims:
            victim.start()
        for victim in victims:
            victim.ready.wait()
            time.sleep(dice.uniform(0, 0.004))
            assert stop_thread(victim)
        for victim in victims:
            victim.join(10)
            assert not victim.is_alive()
            assert victim.failure is None
    sessions.check_all()
    del victim, victims
    assert connections(own_memcached, 4) <= 4


# ------------------------------------------------------------------------------------------ after a close


def test_a_call_that_is_interrupted_after_quit_gives_its_connection_up(
    own_memcached: Memcached, make_client: MakeClient, alarm: Alarm
) -> None:
    with Proxy(("127.0.0.1", own_memcached.port)) as proxy:
        rs = make_client(proxy.address, timeout=5)
        rs.ping()
        asked, quitted = threading.Event(), threading.Event()

        def swallow(_chunk: bytes) -> bytes:
            asked.set()
            return b""

        def quit_then() -> None:
            if asked.wait(20):
                rs.quit()
            quitted.set()

        proxy.to_server = swallow
        alarm(Stop)
        quitting = threading.Thread(target=quit_then)
        quitting.start()
        with alarm_when(quitted), pytest.raises(Stop):
            rs.ping()
        quitting.join()
        with pytest.raises((StoreUnavailable, RuntimeError)):
            rs.ping()
    assert connections(own_memcached, 0) <= 0


# --------------------------------------------------------------------------------------------- imports

FIRST_CALLS = """
import json
import sys
from memsessions import SessionsClient, StoreUnavailable, ValidationError
from memsessions.changes import differences

addresses, ns, cachetime = json.loads(sys.argv[1])
rs = SessionsClient(addresses, ns=ns, cachetime=cachetime)
documents = rs.documents("shop")
nobody = SessionsClient("localhost:1")


def first(function, *arguments, **options):
    before = set(sys.modules)
    try:
        answer = function(*arguments, **options)
    except (StoreUnavailable, ValidationError):
        answer = None
    if imported := set(sys.modules) - before:
        print(function.__qualname__, sorted(imported))
    return answer


token = first(rs.create, "forum", "user1", "127.0.0.1", d={"n": 1})["token"]
assert first(rs.get, "forum", token)["d"] == {"n": 1}
first(rs.set, "forum", token, {"n": 2})
token = first(rs.rotate, "forum", token)["token"]
first(rs.kill, "forum", token)
first(rs.soid, "forum", "user1")
first(rs.soapp, "forum")
first(list, rs.iter_soapp("forum"))
first(rs.activity, "forum")
first(rs.killsoid, "forum", "user1")
made = first(rs.create_many, "forum", [{"id": "user1", "ip": "127.0.0.1"}] * 2)
first(rs.get_many, "forum", [each["token"] for each in made])
first(rs.kill_many, "forum", [each["token"] for each in made])
first(rs.killall, "forum")
first(rs.wipe)
first(rs.ping)
first(rs.get, "forum", "")
first(nobody.ping)

document = first(documents.create, {"n": [1]}, id="user1", ttl=60)
document = first(documents.read, document.token)
assert document.data == {"n": [1]}
document = first(documents.save, document, differences(document.data, {"n": [2]}))
document = first(documents.move, document, {}, ip="192.0.2.1")
first(documents.exists, document.token)
(device,) = first(documents.devices, "user1")
first(documents.end_device, "user1", device.handle)
first(documents.end, document.token)
nobodys = first(documents.create, {}, ttl=60)
first(documents.adopt, nobodys.token, {})
first(documents.end_unchanged, first(documents.read, nobodys.token))
first(rs.quit)
first(nobody.close)
"""


@pytest.fixture(params=["memcached", "memory", "several memcached", "several memory"])
def any_store(request: pytest.FixtureRequest) -> Where:
    return every_where(request)


@pytest.mark.parametrize("cachetime", [0, 5])
def test_no_call_imports_anything(any_store: Where, cachetime: int) -> None:
    """An import that is interrupted may leave its lock held: whoever needs it next waits for ever."""
    arguments = json.dumps([any_store.address, any_store.ns, cachetime])
    command = [sys.executable, "-c", FIRST_CALLS, arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
