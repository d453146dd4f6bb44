"""The command itself: what it asks for, what it refuses, and how it leaves."""

from __future__ import annotations

import contextlib
import os
import resource
import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from ...client import SessionsClient
from ...environment import from_environment
from ...errors import ConfigurationError, StoreError
from ...operating import on_each_server
from ...wording import number, span
from .. import codes
from ..files import replacing
from ..frame import Frame, command
from ..interrupts import stoppable
from ..options import Seconds
from ..output import Output, complain
from . import report
from .measuring import measure, planned
from .workload import CONNECT_TIMEOUT_S, EACH_USERS, TIMEOUT_S, Load, Workload

_MOST_THREADS, _MOST_COUNTS = 256, 8
_LEAST_S, _MOST_S = 0.01, 60.0
_OPERATIONS = 8
# How much longer it takes in all than what is measured, at most, where nothing is slow.
_MORE = 1.5
# Sessions live for so long, and for some times what the run should take: nothing ends while it is measured.
_TTL_S = 600
# Connections and files that are in use for something else.
_SPARE = 10
# It takes at most this part of the memory that a server has left, as others' sessions could be evicted.
_PART_OF_FREE = 0.5

_NOTES = """\b
get        reads a session
set        changes a session's data
soid       lists a user's 10 sessions
soapp      lists the app's sessions that are active
activity   counts the app's users that are active
create     makes a session
kill       ends a session

Each is measured for --seconds with each number of threads, in parts that take turns, so that what else the
machine does hits all alike. "per second" is of all threads together, the median over the rounds; p50, p95 and
p99 are exact, of all calls. The measure is a bare get: pymemcache's PooledClient.get of an item of as many
bytes, from the same threads; of several servers, from each in turn. "bare gets" is how many of these could be
made in the time of one call, the median over the rounds. Python runs one thread at a time: more than a few
mean waiting, which latencies show.

All is done in a namespace that nobody else has, and is removed at the end, also after Ctrl-C. Where this is
killed (-9), its sessions end by themselves."""


class _Counts(click.ParamType[list[int]]):
    name = "counts"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[int]:
        counts = [int(part) if part.strip().isdecimal() else 0 for part in str(value).split(",")]
        if not all(1 <= count <= _MOST_THREADS for count in counts):
            self.fail(f"numbers from 1 to {_MOST_THREADS} are wanted, such as 1,8,64", param, ctx)
        if len(set(counts)) < len(counts) or len(counts) > _MOST_COUNTS:
            self.fail(f"at most {_MOST_COUNTS} numbers are wanted, each once", param, ctx)
        return counts


@command("bench", notes=_NOTES)
@click.option(
    "--threads",
    "counts",
    type=_Counts(),
    default="1,8,64",
    show_default=True,
    metavar="N,N,...",
    help="Measure with so many threads.",
)
@click.option(
    "--seconds",
    type=Seconds(_LEAST_S, _MOST_S),
    default=1,
    show_default=True,
    metavar="SECONDS",
    help="How long to measure each operation with each number of threads.",
)
@click.option(
    "--data",
    "data_bytes",
    type=click.IntRange(1, 1_000_000),
    default=100,
    show_default=True,
    metavar="BYTES",
    help="How much data each session has.",
)
@click.option(
    "--sessions",
    type=click.IntRange(EACH_USERS, 1_000_000),
    default=1000,
    show_default=True,
    metavar="NUMBER",
    help="How many sessions there are to read, write and list.",
)
@click.option(
    "--plot",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE.svg",
    help="Draw the calls per second, too.",
)
def bench(
    frame: Frame, counts: list[int], seconds: float, data_bytes: int, sessions: int, plot: Path | None
) -> None:
    """Measure what this store does from this machine.

    Creates, reads, writes, kills and listings per second, and their latencies, from 1, 8 and 64 threads,
    against a bare get on the same server.
    """
    plan = planned(seconds)
    takes_s = round(_MORE * seconds * _OPERATIONS * len(counts)) + 1
    most = max(counts)
    load = Load(
        sessions=-(-max(sessions, most) // EACH_USERS) * EACH_USERS,
        data_bytes=data_bytes,
        ttl_s=_TTL_S + 10 * takes_s,
    )
    memory = load.memory_bytes(len(counts) * (plan.rounds + 1))
    _check_files(len(_servers(frame)) * 2 * most)
    with _plot(plot) as draw:
        stats = _stats(frame)
        if "version" in next(iter(stats.values())):
            _check_servers(stats, 2 * most, memory)
            plain: dict[str, Any] | None = _plain_options()
        else:
            frame.out.note("memory:// is in this process: there is no bare get to measure it against")
            plain = None
        ns = _namespace(frame)
        frame.out.note(
            f"measuring for about {span(takes_s)}: as many calls as can be made, from up to"
            f" {number(most, 'thread')}, and up to {memory / 1e6:.0f} MB of sessions in the namespace {ns},"
            " which are removed at the end"
        )
        with (
            frame.open(ns=ns, timeout=TIMEOUT_S, connect_timeout=CONNECT_TIMEOUT_S) as client,
            stoppable() as stopped,
        ):
            with _workload(frame.out, client, load, plain) as workload:
                with frame.out.progress("preparing") as tell:
                    workload.prepare(tell, stopped)
                with frame.out.progress("measuring") as tell:
                    measured = measure(workload.cases(), counts, plan, tell, stopped)
            if stopped():
                return
        versions = {server: its.get("version", "") for server, its in stats.items()}
        found = report.document(measured, plan, load, workload.item_bytes, versions)
        draw(found)
    shown = report.table(found)
    if not frame.out.on_terminal:
        frame.out.note(shown.caption)
    frame.out.answer(found, shown)


# ------------------------------------------------------------------------------------------- before


def _servers(frame: Frame) -> list[str]:
    return [server for server, _ in on_each_server(frame.client, lambda node: node.name)]


def _check_files(connections: int) -> None:
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files != resource.RLIM_INFINITY and connections + _SPARE > files:
        raise click.UsageError(
            f"{connections} connections are needed, and this process may have {files} files open:"
            " give fewer --threads, or raise the limit (ulimit -n)"
        )


def _stats(frame: Frame) -> dict[str, dict[str, str]]:
    """What each server says of itself. Ends with exit code 3 where one does not."""
    outcomes = on_each_server(frame.client, lambda node: node.store.stats())
    frame.fail([outcome for _, outcome in outcomes if isinstance(outcome, StoreError)])
    return {server: outcome for server, outcome in outcomes if not isinstance(outcome, StoreError)}


def _check_servers(stats: Mapping[str, Mapping[str, str]], connections: int, memory: int) -> None:
    """Refuse what a server has no room for: others would lose their connections, or their sessions."""
    for server, its in stats.items():
        limit = int(its["max_connections"])
        free, wanted = max(0, limit - int(its["curr_connections"])), connections + _SPARE
        if wanted > free:
            raise click.UsageError(
                f"{server} has {free} of its {limit} connections left, and {wanted} are needed: give fewer"
                " --threads, or start memcached with a higher -c"
            )
        left = int(its["limit_maxbytes"]) - int(its["bytes"])
        if memory > _PART_OF_FREE * left:
            raise click.UsageError(
                f"{server} has {left / 1e6:.0f} MB of memory left, and up to {memory / 1e6:.0f} MB would be"
                " taken, which may be half of it at most, so that nobody's session is evicted: give less"
                " --data or fewer --sessions"
            )


def _plain_options() -> dict[str, Any]:
    """How pymemcache connects to the servers."""
    given = from_environment(os.environ)
    return {name: given.get(name) for name in ("tls_context", "username", "password")}


def _namespace(frame: Frame) -> str:
    """One that nobody else has, which says whose it is."""
    ns = frame.ns or from_environment(os.environ).get("ns", "rs")
    return f"{ns[:35]}.bench-{secrets.token_hex(4)}"


# -------------------------------------------------------------------------------------------- after


@contextlib.contextmanager
def _workload(
    out: Output, client: SessionsClient, load: Load, plain: Mapping[str, Any] | None
) -> Iterator[Workload]:
    """What is measured, of which nothing is left."""
    workload = Workload(client, load, plain)
    try:
        yield workload
    except BaseException:
        _remove(out, workload, load)
        raise
    if _remove(out, workload, load):
        raise click.exceptions.Exit(codes.UNAVAILABLE)


def _remove(out: Output, workload: Workload, load: Load) -> bool:
    """Whether something may be left, which is said."""
    with stoppable():
        with out.progress("removing") as tell:
            errors = workload.remove(tell)
        for error in errors:
            complain(f"{error}; what was made there could not be removed: it ends within {span(load.ttl_s)}")
    return bool(errors)


@contextlib.contextmanager
def _plot(path: Path | None) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """What draws into a file. That this can be done is seen before anything is measured."""
    if path is None:
        yield lambda _found: None
        return
    try:
        import pygal  # noqa: F401
    except ImportError:
        raise ConfigurationError("--plot needs one more package: pip install 'memsessions[cli]'") from None
    if not path.parent.is_dir():
        raise click.UsageError(f"--plot: there is no directory {path.parent}")
    with replacing(path, 0o666) as file:
        yield lambda found: (file.write(report.drawing(found)), None)[1]
