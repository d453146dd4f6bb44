"""OpenTelemetry's spans: one for each call, with what helps and nothing that is secret."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from memsessions import SessionsClient, StoreUnavailable, ValidationError, telemetry
from memsessions.changes import differences
from memsessions.documents import Documents

from .conftest import MakeClient, OnMemcached
from .support.memcached import Memcached

APP = "forum"
USER = "Alice-the-secret-user"
IP = "192.0.2.177"
DATA: dict[str, Any] = {"secret-key": "secret-value"}


class Traces:
    """A provider of tracers that remembers every span."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self._exporter.get_finished_spans())

    @property
    def names(self) -> list[str]:
        return [span.name for span in self.spans]

    def clear(self) -> None:
        self._exporter.clear()


@pytest.fixture
def traces() -> Iterator[Traces]:
    yield Traces()
    telemetry.uninstrument()


@pytest.fixture
def rs(client: SessionsClient, traces: Traces) -> SessionsClient:
    telemetry.instrument(tracer_provider=traces.provider)
    return client


def all_calls(rs: SessionsClient) -> list[str]:
    """Make every call there is; what is secret of them, the tokens included."""
    token = rs.create(APP, USER, IP, d=DATA)["token"]
    rs.get(APP, token)
    rs.set(APP, token, {"secret-key": "secret-value"})
    rotated = rs.rotate(app=APP, token=token)
    assert rotated is not None
    rs.soid(APP, USER)
    rs.soapp(APP)
    list(rs.iter_soapp(APP))
    rs.activity(APP)
    rs.kill(APP, rotated["token"])
    made_at_once = rs.create_many(APP, [{"id": USER, "ip": IP, "d": DATA}])[0]["token"]
    rs.get_many(APP, [made_at_once])
    rs.kill_many(app=APP, tokens=[made_at_once])
    rs.killsoid(APP, USER)
    rs.killall(APP)
    rs.wipe()
    rs.ping()
    documents = rs.documents(APP)
    made = documents.create(DATA, id=USER, ip=IP, ttl=600)
    read = documents.read(made.token)
    assert read is not None
    saved = documents.save(read, differences(read.stored, {"secret-key": 2}))
    assert saved is not None
    moved = documents.move(saved, {})
    assert moved is not None
    documents.exists(moved.token)
    (device,) = documents.devices(USER)
    documents.end_device(USER, device.handle)
    documents.end(moved.token)
    documents.end_unchanged(moved)
    documents.adopt(moved.token, DATA)
    tokens = [token, rotated["token"], made_at_once, made.token, moved.token]
    return [USER, IP, "secret", device.handle, *tokens]


OPERATIONS = [
    *("create", "get", "set", "rotate", "soid", "soapp", "iter_soapp", "activity", "kill"),
    *("create_many", "get_many", "kill_many", "killsoid"),
    *("killall", "wipe", "ping", "documents.create", "documents.read", "documents.save", "documents.move"),
    *("documents.exists", "documents.devices", "documents.end_device", "documents.end"),
    *("documents.end_unchanged", "documents.adopt"),
]


def test_each_call_is_one_span_that_is_named_by_it(rs: SessionsClient, traces: Traces) -> None:
    all_calls(rs)
    assert traces.names == OPERATIONS
    assert {span.kind for span in traces.spans} == {SpanKind.CLIENT}
    assert {span.status.status_code for span in traces.spans} == {StatusCode.UNSET}


def test_no_span_shows_a_token_a_user_or_data(rs: SessionsClient, traces: Traces) -> None:
    secrets = all_calls(rs)
    with pytest.raises(ValidationError):
        rs.get(secrets[-1], secrets[-1])  # a token in the place of the app
    with pytest.raises(ValidationError):
        rs.set(APP, secrets[-1], {"secret-key": ["secret-value"]})  # type: ignore[dict-item]
    assert len(traces.spans) == len(OPERATIONS) + 2
    for span in traces.spans:
        shown = span.to_json()
        assert not [secret for secret in secrets if secret in shown]


def test_attributes_follow_the_conventions_for_databases(
    on_memcached: OnMemcached, make_client: MakeClient, traces: Traces
) -> None:
    telemetry.instrument(tracer_provider=traces.provider)
    make_client(on_memcached.address, ns=on_memcached.ns).create(APP, USER, IP)
    (span,) = traces.spans
    assert dict(span.attributes or {}) == {
        "db.system.name": "memcached",
        "db.operation.name": "create",
        "server.address": "127.0.0.1",
        "server.port": on_memcached.server.port,
        "memsessions.app": APP,
    }


def test_of_several_servers_that_of_the_session_is_named(
    three_memcacheds: list[Memcached], make_client: MakeClient, traces: Traces
) -> None:
    """None for a call that asks all of them. User ids that look like tokens, and data that has one, do not
    matter.
    """
    rs = make_client([server.address for server in three_memcacheds])
    telemetry.instrument(tracer_provider=traces.provider)
    made = [rs.create(APP, "x" * 64, IP)["token"] for _ in range(20)]
    for token in made:
        rs.get(APP, token)
    documents = rs.documents(APP)
    for token in made:
        documents.end(documents.create({"token": token}, ttl=600).token)
    rs.soid(APP, "x" * 64)
    telemetry.uninstrument()
    *spans, last = [dict(span.attributes or {}) for span in traces.spans]
    ports = [attributes["server.port"] for attributes in spans]
    assert ports[:20] == ports[20:40] == [home(rs, token) for token in made]
    assert ports[40::2] == ports[41::2]
    assert set(ports) == {server.port for server in three_memcacheds}
    assert "server.address" not in last


def home(rs: SessionsClient, token: str) -> object:
    (node,) = [node for node in rs._nodes if node.app(APP).sessions.exists(token)]
    return node.address[1]


def test_a_span_is_a_child_of_the_current_one(rs: SessionsClient, traces: Traces) -> None:
    """Each of a call: also an iterator's, during which the current span stays what it is."""
    tracer = traces.provider.get_tracer("test")
    for _ in range(2):
        rs.create(APP, USER, IP)
    traces.clear()
    with tracer.start_as_current_span("request") as request:
        rs.soid(APP, USER)
        for _session in rs.iter_soapp(APP):
            rs.ping()
    by_name: dict[str, list[ReadableSpan]] = {}
    for span in traces.spans:
        by_name.setdefault(span.name, []).append(span)
    assert {name: len(spans) for name, spans in by_name.items()} == {
        "soid": 1,
        "ping": 2,
        "iter_soapp": 1,
        "request": 1,
    }
    for name in ("soid", "ping", "iter_soapp"):
        for span in by_name[name]:
            assert span.parent is not None
            assert span.parent.span_id == request.get_span_context().span_id


def test_a_failure_is_shown_by_its_type(
    own_memcached: Memcached, make_client: MakeClient, traces: Traces
) -> None:
    """Without its message and its traceback; it is raised as it was."""
    rs = make_client(own_memcached.address, timeout=5)
    token = rs.create(APP, USER, IP)["token"]
    own_memcached.kill()
    telemetry.instrument(rs, tracer_provider=traces.provider)
    failing: list[Callable[[], object]] = [
        lambda: rs.get(APP, token),
        lambda: rs.documents(APP).read(token),
        lambda: list(rs.iter_soapp(APP)),
    ]
    for call in failing:
        with pytest.raises(StoreUnavailable):
            call()
    assert len(traces.spans) == 3
    for span in traces.spans:
        assert (span.attributes or {})["error.type"] == "StoreUnavailable"
        assert span.status.status_code is StatusCode.ERROR
        assert list(span.events) == []


def test_an_iterator_that_is_left_early_is_no_failure(rs: SessionsClient, traces: Traces) -> None:
    for _ in range(2):
        rs.create(APP, USER, IP)
    traces.clear()
    iterator = rs.iter_soapp(APP)
    assert traces.names == []
    next(iterator)
    iterator.close()  # type: ignore[attr-defined]
    (span,) = traces.spans
    assert span.status.status_code is StatusCode.UNSET


def test_one_client_can_be_traced_alone(make_client: MakeClient, traces: Traces) -> None:
    """With the documents that were made of it before."""
    one, other = (make_client("memory://telemetry") for _ in range(2))
    documents = one.documents(APP)
    telemetry.instrument(one, tracer_provider=traces.provider)
    for rs in (one, other):
        rs.ping()
    documents.read("x" * 64)
    other.documents(APP).read("x" * 64)
    assert traces.names == ["ping", "documents.read"]
    telemetry.uninstrument(one)
    one.ping()
    assert len(traces.names) == 2


def test_instrumenting_twice_makes_one_span(client: SessionsClient, traces: Traces) -> None:
    telemetry.instrument(tracer_provider=traces.provider)
    telemetry.instrument(client, tracer_provider=traces.provider)
    telemetry.instrument(tracer_provider=traces.provider)
    client.ping()
    assert traces.names == ["ping"]


def test_afterwards_everything_is_as_it_was(client: SessionsClient, traces: Traces) -> None:
    """The methods themselves are, so nothing is left that could cost something."""
    kinds = (SessionsClient, Documents)
    before = [dict(vars(kind)) for kind in kinds]
    telemetry.instrument(tracer_provider=traces.provider)
    telemetry.instrument(client, tracer_provider=traces.provider)
    assert [dict(vars(kind)) for kind in kinds] != before
    telemetry.uninstrument(client)
    client.ping()
    assert traces.names == ["ping"], "all others are traced as before"
    telemetry.uninstrument()
    assert [dict(vars(kind)) for kind in kinds] == before
    telemetry.uninstrument()
    client.ping()
    assert traces.names == ["ping"]


def test_the_methods_look_as_they_did(rs: SessionsClient) -> None:
    """Their names and texts, for whoever asks for help."""
    assert rs.get.__name__ == "get"
    assert "Read a session" in str(rs.get.__doc__)


IMPORTS = """
import sys
import memsessions
rs = memsessions.SessionsClient("memory://", wipe=0)
rs.create("forum", "user", "192.0.2.1")
memsessions.metrics.snapshot()
print([name for name in sys.modules if name.startswith(("opentelemetry", "prometheus_client"))])
"""


def test_nothing_is_imported_that_is_not_used() -> None:
    command = [sys.executable, "-c", IMPORTS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.parametrize(
    ("module", "missing"), [("telemetry", "opentelemetry"), ("prometheus", "prometheus_client")]
)
def test_what_is_missing_is_said(module: str, missing: str) -> None:
    """With the command that installs it."""
    code = f"import sys; sys.modules[{missing!r}] = None; import memsessions.{module}"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert f"pip install 'memsessions[{missing.removesuffix('_client')}]'" in done.stderr
