"""Servers that encrypt or want a password, and stores on any of them."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pymemcache import Client

from memsessions.store.memcached import MemcachedStore

from ..support.memcached import Memcached

ITEM_BYTES = 1024 * 1024


@pytest.fixture
def open_at() -> Iterator[Callable[..., MemcachedStore]]:
    """Opens stores by port, and closes them at the end."""
    stores = []

    def open_store(port: int, timeout: float = 20.0, **options: Any) -> MemcachedStore:
        template = Client(("127.0.0.1", port))
        times = {"timeout": timeout, "connect_timeout": 20.0, "item_bytes": ITEM_BYTES}
        stores.append(MemcachedStore(f"127.0.0.1:{port}", template, **{**times, **options}))
        return stores[-1]

    yield open_store
    for store in stores:
        store.close()


OpenAt = Callable[..., MemcachedStore]


PASSWORD = "correct-horse:battery/staple"


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Memcached]:
    """A server that wants a user name and a password."""
    accounts = tmp_path / "accounts"
    accounts.write_text(f"other:secret\nweb:{PASSWORD}\n")
    with Memcached("-Y", str(accounts)) as server:
        yield server


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a self-signed certificate for localhost, and its key."""
    where = tmp_path_factory.mktemp("tls")
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", str(where / "key.pem"), "-out", str(where / "cert.pem")]
    kind = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    subprocess.run(["openssl", "req", *kind, *subject, *files], check=True, capture_output=True)
    return where


@pytest.fixture
def encrypted(certificate: Path) -> Iterator[Memcached]:
    """A server that speaks TLS."""
    files = f"ssl_chain_cert={certificate}/cert.pem,ssl_key={certificate}/key.pem"
    with Memcached("-Z", "-o", files, "-t", "1") as server:
        yield server


@pytest.fixture
def trusting(certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate / "cert.pem"))
