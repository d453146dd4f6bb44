"""A Celery application whose broker and results are files in a folder: neither needs a server."""

from __future__ import annotations

from pathlib import Path

from celery import Celery


def application(name: str, folder: Path) -> Celery:
    """One of those that talk to each other through a folder."""
    for part in ("messages", "control", "processed", "results"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    app = Celery(name, broker="filesystem://", backend=f"file://{folder}/results", set_as_current=False)
    app.conf.update(
        broker_transport_options={
            "data_folder_in": str(folder / "messages"),
            "data_folder_out": str(folder / "messages"),
            "control_folder": str(folder / "control"),
            "processed_folder": str(folder / "processed"),
            "store_processed": True,
            "polling_interval": 0.02,
        },
        broker_connection_retry_on_startup=False,
        worker_prefetch_multiplier=1,
    )
    return app
