"""The client: checks the arguments, calls, and shapes the answer."""

from __future__ import annotations

import contextlib
import os
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from time import perf_counter_ns
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from . import forks
from . import validation as check
from .cache import NoCache, SessionCache
from .config import DEFAULT_ITEM_BYTES, check_ns, check_number, open_stores
from .errors import (
    ClientClosed,
    StoreError,
)
from .fleet import Fleet
from .many import Many
from .meters import SUM
from .nodes import ByTag, Node, nodes
from .record import new_record, without_none
from .servers import DEFAULT_SERVER, Addresses
from .sessions import AppSessions, Making, counter_life
from .tallies import watch
from .tokens import TAG, Life
from .types import Activity, Created, Killed, NewSession, Scalar, Session, Wiped
from .wiping import WipeThread

if TYPE_CHECKING:
    from .document import Sealing
    from .documents import Documents

_WIPE_LEAST_S = 10

T = TypeVar("T")


class SessionsClient:
    """Sessions grouped by app and user, on one memcached, on several or in this process.

    One client serves a whole process: share it between threads and greenlets, make it before or after a
    fork. Nothing is contacted until the first call.

    Parameters:
        servers: `"host"`, `"host:port"`, `"[::1]:11211"`, `(host, port)`, `"unix:/path"`, or
            `"memory://"` or `"memory://name"` for the in-process store (see `memsessions.store.memory`
            for when not to use it). Several servers: a list of these, or a mapping of names to them. A
            token remembers its server by this name, or by the address as it was written. In place of an
            address, `Server` says also its weight and whether it is drained; as text, `"host?drain"`.
        ns: prefix of every key, 1 to 50 of `A-Z a-z 0-9 _ . -`. Another `ns` has other sessions.
        wipe: seconds between two wipes of dead index entries by a background thread; 0 for no thread,
            1 to 9 count as 10. Of all processes on the same server and `ns`, one wipes in each interval.
        client: a pymemcache `Client` (its address, TLS and key prefix are used), `PooledClient` (also its
            pool of connections, within its limit; a call that goes through an app takes two) or
            `HashClient` (its servers; not where it would put a key), instead of `servers` and `tls_context`.
        cachetime: what other processes `set` and `kill` is seen up to this many seconds late. For so long
            `get` answers from a cache in this process, with `r` and `idle` frozen; 0 for no cache.
        cachemax: the most sessions that the cache holds.
        timeout: seconds that a call may take in all. Calls that go through an app (`soapp`, `activity`,
            `killall`, `wipe`), those of a user (`soid`, `killsoid`) and those for many sessions
            (`create_many`, `get_many`, `kill_many`) may take as long for each packet.
        connect_timeout: seconds of these that opening one connection may take.
        tls_context: speak TLS, as this context says.
        username, password: for a memcached that was started with `-Y`.
        max_item_bytes: the server's item size limit (`-I`), 1 MiB by default.

    Raises:
        ConfigurationError: an argument is not usable.

    Every call can raise `StoreUnavailable` when the server does not give a whole, valid answer in time:
    an outage is never an empty answer. Of several servers, one that failed is left alone for a moment
    (0.9 s at most): its sessions' calls fail at once, and new sessions go to the others.
    `UnsupportedServer` says that the memcached is older than 1.6.18, `ValidationError` that an argument is
    wrong (before any I/O), `ClientClosed` that `quit` was called.
    """

    def __init__(
        self,
        servers: Addresses = DEFAULT_SERVER,
        *,
        ns: str = "rs",
        wipe: int = 600,
        client: Any = None,
        cachetime: int = 0,
        cachemax: int = 5000,
        timeout: float = 1.0,
        connect_timeout: float = 0.5,
        tls_context: ssl.SSLContext | None = None,
        username: str | None = None,
        password: str | None = None,
        max_item_bytes: int = DEFAULT_ITEM_BYTES,
    ) -> None:
        check_ns(ns)
        check_number("wipe", wipe, 0, whole=True)
        check_number("cachetime", cachetime, 0)
        check_number("cachemax", cachemax, 1, whole=True)
        opened = open_stores(
            servers,
            client=client,
            timeout=timeout,
            connect_timeout=connect_timeout,
            tls_context=tls_context,
            username=username,
            password=password,
            max_item_bytes=max_item_bytes,
        )
        self._nodes = nodes(opened, ns, timeout, max_item_bytes)
        self._fleet = Fleet(self._nodes)
        self._ns = ns
        self._wipe_s = max(wipe, _WIPE_LEAST_S) if wipe else 0
        self._item_bytes = max_item_bytes
        self._cachetime_s = cachetime
        self._cache = SessionCache(cachetime, cachemax) if cachetime else NoCache()
        self._many = Many(self._fleet, self._cache, max_item_bytes)
        self._apps: dict[str, ByTag] = {}
        self._thread: WipeThread | None = None
        self._started = False
        self._closed = False
        self._starting = threading.RLock()
        forks.call_in_child(self, SessionsClient._after_fork_in_child)
        watch(self)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **options: Any) -> SessionsClient:
        """A client configured by environment variables.

        `MEMSESSIONS_SERVERS`, `_NS`, `_WIPE`, `_CACHETIME`, `_CACHEMAX`, `_TIMEOUT`, `_CONNECT_TIMEOUT`,
        `_USERNAME`, `_PASSWORD` and `_MAX_ITEM_BYTES` are the arguments of the same names. Several servers
        stand after commas, `name=address` where they have names, with `?weight=2` or `?drain` behind.
        `MEMSESSIONS_TLS=1` speaks TLS as `ssl.create_default_context` does, and `MEMSESSIONS_TLS_CA` (a
        file of certificates) too, trusting these. A variable that is unset or empty leaves the default.

        Parameters:
            environ: where to look; the process's environment by default.
            options: arguments of the constructor, which win over variables.

        Raises:
            ConfigurationError: names the variable that is not usable.
        """
        from .environment import with_environment  # only who has these pays for this import

        return cls(**with_environment(os.environ if environ is None else environ, options))

    # ------------------------------------------------------------------------------- one session

    def create(
        self,
        app: str,
        id: str,
        ip: str,
        ttl: int = 7200,
        d: Mapping[str, Scalar] | None = None,
        no_resave: bool = False,
    ) -> Created:
        """Make a session. One round trip; one more at the first use of an app by this client.

        Of several servers, one is chosen by chance and weight among those that answer. One that fails
        meanwhile is given half of the time, and then the next is tried.

        Parameters:
            app: 3 to 20 of `A-Z a-z 0-9 _ -`.
            id: the user, 1 to 128 characters of any kind. A user can have many sessions.
            ip: the user's address, 1 to 39 characters.
            ttl: seconds the session lives without an access, from 10 to 10 years.
            d: data, a mapping of at least one string to str, int (64 bits), float, bool or None (left out).
            no_resave: let it end `ttl` seconds after now, whether it is used or not.

        Returns:
            `{"token": "..."}`, 64 of `A-Z a-z 0-9`. The store keeps only a hash of it.

        Raises:
            SessionTooLarge: `d` does not fit into an item of the store.
            StoreFull: the server runs with `-M` and has no memory left. Nothing was stored.
        """
        self._serving(app)
        check.check_id(id)
        check.check_ip(ip)
        check.check_ttl(ttl)
        check.check_flag("no_resave", no_resave)
        data = None if d is None else without_none(check.checked_data(d, self._item_bytes))
        life = Life(ttl, no_resave)
        making = Making(new_record(id, ip, ttl, no_resave, data or None), life, counter_life(life))
        return {"token": self._fleet.create(app, making, "create")}

    def get(self, app: str, token: str) -> Session | None:
        """Read a session, which counts as an access and renews its life. One round trip.

        With `cachetime`, the answer may be as old as that, and then costs no round trip.

        Returns:
            `{"id", "r", "w", "idle", "ttl", "ip", "d"}` in this order, `"no_resave": True` after them
            where it was created so; `d` is None where there is no data. None for a session that is
            unknown, expired or killed. `r` counts this call. (redis-sessions 4.0.0 reports `r` as it
            was before the call, its documentation as it is after; this follows the documentation.)
        """
        sessions = self._serving(app)
        check.check_token(token)
        on_server = sessions[token[TAG]]
        if self._cachetime_s:
            return self._cached(on_server, app, token)
        # As `Meter.call`, which itself would cost as much again: this is the most frequent call there is.
        started = perf_counter_ns()
        try:
            session = on_server.read(token)
        except BaseException as error:
            on_server.meter.failed("get", error)
            raise
        took = perf_counter_ns() - started
        numbers = on_server.meter.times["get"]
        numbers[(took * took).bit_length()] += 1
        numbers[SUM] += took
        return session

    def set(self, app: str, token: str, d: Mapping[str, Scalar]) -> Session | None:
        """Merge data into a session: keys that are not named stay, None removes one.

        Concurrent calls lose nothing of each other, and never bring back a session that has ended.
        Two round trips, and two more for each other writer that came in between.

        Parameters:
            d: as in `create`.

        Returns:
            The session as in `get`, after the change; None if it is unknown, expired or killed.

        Raises:
            SessionTooLarge, StoreFull: as in `create`; the session is as it was.
        """
        sessions = self._serving(app)
        check.check_token(token)
        changes = check.checked_data(d, self._item_bytes)
        on_server = sessions[token[TAG]]
        try:
            return on_server.meter.call("set", on_server.write, token, changes)
        finally:
            self._cache.drop(app, token)

    def kill(self, app: str, token: str) -> Killed:
        """End a session. One round trip.

        Returns:
            `{"kill": 1}`, or `{"kill": 0}` if it is unknown, expired or killed already.
        """
        sessions = self._serving(app)
        check.check_token(token)
        on_server = sessions[token[TAG]]
        try:
            return {"kill": int(on_server.meter.call("kill", on_server.kill, token))}
        finally:
            self._cache.drop(app, token)

    def rotate(self, app: str, token: str) -> Created | None:
        """Give a session a new token and end the old one: do so at every log-in (session fixation).

        Everything else of the session stays as it is; it does not count as an access. A `get` that runs at
        the same moment may be left out of `r`. Two round trips; three if memcached runs with `-M`, or the
        session is larger than 4 kB.

        Returns:
            `{"token": "..."}`, or None if the session is unknown, expired or killed.

        Raises:
            StoreFull: as in `create`; the session is as it was.
        """
        sessions = self._serving(app)
        check.check_token(token)
        on_server = sessions[token[TAG]]
        try:
            moved = on_server.meter.call("rotate", on_server.rotate, token)
        finally:
            self._cache.drop(app, token)
        return None if moved is None else {"token": moved.token}

    # ------------------------------------------------------------------- many calls for one session each

    def create_many(self, app: str, sessions: Iterable[NewSession]) -> list[Created]:
        """As many `create`s. One round trip for 1,000 sessions (fewer if they hold more than 2 MB).

        Each round trip has `timeout` seconds; there is one more at the first use of an app. Everything is
        checked, and held in memory, before the first session is sent. Of each session, the counter is stored
        first, then its index entry, and then the session: one that can be used is always listed. Of several
        servers, each session goes to one by chance, as in `create`; they are asked at the same time, and
        what one does not take goes to the next.

        It is all or nothing. If it fails, what it has made is ended before it raises, as nobody has the
        tokens, and sessions that nobody can use would be shown in the lists. That takes a round trip for each
        1,000, and no longer than one `timeout` on a server that does not answer. On a server that cannot be
        reached for that, where the answer to the first 1,000 is late, and where the call is interrupted
        (which ends it at once), some may be left: they are whole, listed until their `ttl` is over, and
        `killsoid` ends them.

        Parameters:
            sessions: mappings with `id` and `ip`, and, if wanted, `ttl`, `d` and `no_resave`: see `create`.

        Returns:
            What `create` returns, for each in its turn.

        Raises:
            ValidationError: one of them is wrong, and which, counted from 1: "session 3: No ip supplied".
            SessionTooLarge: as in `create`, and which.
            StoreFull: as in `create`.
            StoreUnavailable: as every call. Of several servers, if none is left that answers.
        """
        self._serving(app)
        return [{"token": token} for token in self._many.create(app, sessions)]

    def get_many(self, app: str, tokens: Iterable[str]) -> list[Session | None]:
        """As many `get`s, each of which counts as an access and renews a session's life.

        One round trip for the first 128, and one for each 1,000 after these (fewer if they hold more than
        2 MB), which has `timeout` seconds. Several servers are asked at the same time, each for its own.
        The cache is used as in `get`.

        Returns:
            What `get` returns, for each token in its turn. A token that is given twice is read twice.

        Raises:
            ValidationError: one of the tokens cannot be one, and which, counted from 1.
            StoreUnavailable: as every call; also if one of several servers that are asked is away. Sessions
                that were read meanwhile count as read.
        """
        self._serving(app)
        return self._many.get(app, tokens)

    def kill_many(self, app: str, tokens: Iterable[str]) -> Killed:
        """As many `kill`s. One round trip for 1,000 tokens, which has `timeout` seconds.

        Several servers are asked at the same time, each for its own.

        Returns:
            `{"kill": n}`: how many were ended by this call. A token that is given twice counts once.

        Raises:
            ValidationError: one of the tokens cannot be one, and which, counted from 1.
            LogoutIncomplete: as in `killsoid`.
        """
        self._serving(app)
        return {"kill": self._many.kill(app, tokens)}

    # ------------------------------------------------------------------------------ many sessions

    def soid(self, app: str, id: str) -> list[Session]:
        """All sessions of a user, the last used first. Changes nothing. Two round trips.

        Returns:
            A list of sessions as in `get`; it is empty for a user without any.
        """
        self._serving(app)
        check.check_id(id)
        return self._fleet.sessions(lambda node: node.app(app).scans.of_user(id), "soid")

    def soapp(self, app: str, dt: int = 600) -> list[Session]:
        """The sessions of an app that were used in the last `dt` seconds, the last used first.

        Changes nothing. The whole list is held in memory; round trips grow with its bytes only.

        Parameters:
            dt: seconds, at least 10.

        Returns:
            A list of sessions as in `get`.
        """
        self._serving(app)
        check.check_seconds("dt", dt)
        return self._fleet.sessions(lambda node: node.app(app).scans.active(dt), "soapp")

    def iter_soapp(self, app: str, dt: int = 600) -> Iterator[Session]:
        """As `soapp`, but in no order, and holding one batch of sessions only, for apps that have many.

        Nothing is asked before the first session is taken. A session that is created, moved or ended
        meanwhile may be there or not. An iterator that is left before its end gives up its connection.

        Parameters:
            dt: seconds, at least 10, before the batch that a session is in was asked for.

        Returns:
            An iterator of sessions as in `get`.
        """
        self._serving(app)
        check.check_seconds("dt", dt)
        return _one_after_the_other(
            [node.meter.iterate("iter_soapp", node.app(app).scans.each_active(dt)) for node in self._nodes]
        )

    def activity(self, app: str, dt: int = 600) -> Activity:
        """How many distinct users of an app were active in the last `dt` seconds.

        Changes nothing. Asks for the time left of every session of the app, in few packets.

        Parameters:
            dt: seconds, at least 10.

        Returns:
            `{"activity": n}`.
        """
        self._serving(app)
        check.check_seconds("dt", dt)
        users = self._fleet.on_each(lambda node: node.app(app).scans.active_users(dt), "activity")
        return {"activity": len(set().union(*users))}

    def killsoid(self, app: str, id: str) -> Killed:
        """End all sessions of a user: "log out everywhere". Three round trips.

        Returns:
            `{"kill": n}`, once every session that existed when the call began has ended; one that `rotate`
            moves at the same moment may count twice.

        Raises:
            LogoutIncomplete: a server could not be reached, or not to the end: some sessions may live. It
                says how many were ended and which servers that are; calling again finishes the job.
        """
        self._serving(app)
        check.check_id(id)
        try:
            return {"kill": self._fleet.end(lambda node: node.app(app).scans.kill_of_user(id), "killsoid")}
        finally:
            self._cache.drop_app(app, id)

    def killall(self, app: str) -> Killed:
        """End all sessions of an app. Round trips grow with their number only by the bytes moved.

        Returns:
            `{"kill": n}`, as in `killsoid`.

        Raises:
            LogoutIncomplete: as in `killsoid`.
        """
        self._serving(app)
        try:
            return {"kill": self._fleet.end(lambda node: node.app(app).scans.kill_all(), "killall")}
        finally:
            self._cache.drop_app(app)

    def documents(self, app: str, sealing: Sealing | None = None) -> Documents:
        """The sessions of an app as documents, for those who build a framework's sessions on this.

        Their data is JSON of any depth, and is written over what was read. They are sessions like all
        others: `soid`, `soapp`, `activity` and the log-outs see them. See `memsessions.documents`, which the
        first such call imports: make them beside the client, rather than anew for each request.

        Parameters:
            sealing: what encrypts their data; see `memsessions.web.encryption`.
        """
        from .documents import Documents  # only who builds on these pays for this import

        check.check_app(app)
        return Documents(app, lambda: self._serving(app), self._fleet, self._cache, sealing)

    # --------------------------------------------------------------------------------- the store

    def wipe(self) -> Wiped:
        """Remove the index entries of sessions that are gone, in every app, now.

        The background thread does this by itself. It never touches a living session.

        Returns:
            `{"wiped": n}`, the sessions whose entries were removed.

        Raises:
            StoreDamaged: something else wrote into the index of an app; the others were wiped.
        """
        return {"wiped": sum(self._on_each_server(Node.wipe, "wipe"))}

    def ping(self) -> str:
        """Ask the server for a sign of life, or each of several. One round trip.

        Returns:
            `"PONG"`.
        """
        self._on_each_server(Node.ping, "ping")
        return "PONG"

    def quit(self) -> None:
        """Close the connections and stop the wipe thread. Further calls raise `ClientClosed`."""
        self._closed = True
        self._started = False
        self._apps = {}
        if self._thread is not None:
            self._thread.stop()
        self._fleet.close()

    def close(self) -> None:
        """The same as `quit`."""
        self.quit()

    def __enter__(self) -> SessionsClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.quit()

    def __repr__(self) -> str:
        servers = ", ".join(node.store.server for node in self._nodes)
        return f"<SessionsClient {servers} ns={self._ns!r}>"

    # ------------------------------------------------------------------------------------ inside

    def _serving(self, app: str) -> ByTag:
        """The sessions of an app; checks its name, and begins what begins with the first call."""
        try:
            return self._apps[app]
        except (KeyError, TypeError):
            pass
        check.check_app(app)  # here, so that its traceback does not begin with an error of this lookup
        self._start()
        return self._apps.setdefault(app, ByTag(self._nodes, app))

    def _nodes_in_use(self) -> list[Node]:
        self._start()
        return self._nodes

    def _cached(self, on_server: AppSessions, app: str, token: str) -> Session | None:
        """A session, from the cache if it is there."""
        cached = self._cache.get(app, token)
        if cached is not None:
            return cached
        moment = self._cache.moment()
        session = on_server.meter.call("get", on_server.read, token)
        if session is not None:
            self._cache.put(app, token, session, moment)
        return session

    def _on_each_server(self, work: Callable[[Node], T], operation: str | None = None) -> list[T]:
        """What some work answers for each server, done at the same time; counted if it is an operation."""
        self._start()
        return self._fleet.on_each(work, operation)

    def _start(self) -> None:
        """At the first call, and at the first one in a child process: begin to wipe."""
        if self._started:
            return
        if self._closed:
            raise ClientClosed("this client was closed by quit(); make a new one")
        with self._starting:
            if not self._started:
                if self._wipe_s:
                    # An interpreter that is shutting down starts no threads, and needs no wipe.
                    with contextlib.suppress(RuntimeError):
                        self._thread = WipeThread(self, SessionsClient._wipe_in_turn, self._wipe_s)
                self._started = True

    def _wipe_in_turn(self) -> list[StoreError]:
        """Wipe each server whose turn is this process's; answers what went wrong."""
        outcomes = self._fleet.outcome_on_each(lambda node: node.wipe_in_turn(self._wipe_s))
        return [outcome for outcome in outcomes if outcome is not None]

    def _after_fork_in_child(self) -> None:
        """Threads stay behind in the parent, and so may the holder of a lock."""
        self._thread = None
        self._started = False
        self._apps = {}  # so that the next call starts
        self._starting = threading.RLock()
        self._cache.after_fork_in_child()


def _one_after_the_other(iterators: list[Iterator[T]]) -> Iterator[T]:
    for iterator in iterators:
        yield from iterator  # which is closed with this one
