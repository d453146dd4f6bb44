"""The command that serves metrics to Prometheus."""

from __future__ import annotations

import threading

import click

from ..errors import ConfigurationError
from .frame import Frame, command

_LEAST_S, _MOST_S = 1, 86_400


@command("exporter")
@click.option(
    "--port", type=click.IntRange(0, 65535), required=True, help="Where to listen; 0 for any that is free."
)
@click.option(
    "--address", default="127.0.0.1", show_default=True, help="Who can reach it: 0.0.0.0 for everybody."
)
@click.option(
    "--interval",
    type=click.IntRange(_LEAST_S, _MOST_S),
    default=60,
    show_default=True,
    metavar="SECONDS",
    help="Count the sessions of all apps at most so often.",
)
def exporter(frame: Frame, port: int, address: str, interval: int) -> None:
    """Serve metrics of the store to Prometheus.

    At /metrics: of each server whether it is up, its memory, evictions, items and connections; of each app
    its sessions, users, and who was active in the last 10 minutes; and the calls of this program itself. What
    a program of yours does is counted there: see memsessions.prometheus. Being asked refreshes no session.
    Ends with Ctrl-C.
    """
    try:
        from prometheus_client import CollectorRegistry, start_http_server
    except ImportError:
        raise ConfigurationError(
            "the exporter needs one more package: pip install 'memsessions[prometheus]'"
        ) from None
    from ..prometheus import ProcessCollector, StoreCollector

    registry = CollectorRegistry()
    registry.register(StoreCollector(frame.client, interval))
    registry.register(ProcessCollector(frame.client))
    try:
        server, thread = start_http_server(port, address, registry)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise click.UsageError(f"cannot listen at {address}, port {port}: {reason}") from None
    try:
        shown = f"[{address}]" if ":" in address else address
        url = f"http://{shown}:{server.server_port}/metrics"
        frame.out.answer({"url": url}, f"serving {url}")
        threading.Event().wait()
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
