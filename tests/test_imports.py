"""What `import memsessions` brings along, and what comes only when it is asked for."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import pytest

#: What every process would pay for at its start, and why a client alone does without.
NOT_NEEDED = {
    "concurrent.futures": "of use to clients of several servers",
    "importlib.metadata": "tells the version, and takes longer than all the rest",
    "secrets": "brings hmac along, and is os.urandom",
    "memsessions.breaker": "of use to clients of several servers",
    "memsessions.changes": "of use to documents",
    "memsessions.document": "of use to documents",
    "memsessions.documents": "for those who build a framework's sessions",
    "memsessions.environment": "of use to SessionsClient.from_env",
    "memsessions.handles": "of use to documents, adapters and the command",
    "memsessions.metrics": "shows what the client counts",
    "memsessions.operating": "of use to the command and to exporters",
    "memsessions.plain": "of use to documents",
    "memsessions.repairing": "for maintenance",
    "memsessions.store.dump": "of use to repairs, and comes with the store on memcached",
    "memsessions.store.memcached": "of use to clients of a memcached",
    "memsessions.store.memory": "of use to clients of memory://",
    "memsessions.transfer": "for maintenance",
}


def printed(code: str) -> str:
    """What some code prints in an interpreter that has imported nothing yet but what pymemcache needs."""
    command = [sys.executable, "-c", f"import sys, pymemcache, orjson\n{code}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_what_a_client_does_without_is_not_imported() -> None:
    code = "before = set(sys.modules); import memsessions; print(*(set(sys.modules) - before))"
    imported = set(printed(code).split())
    assert "memsessions.client" in imported
    assert {name: why for name, why in NOT_NEEDED.items() if name in imported} == {}


def test_all_that_is_named_there_can_be_imported() -> None:
    """Or what has another name now would count as left out."""
    assert [name for name in NOT_NEEDED if find_spec(name) is None] == []


@pytest.mark.parametrize(
    "code",
    [
        "import memsessions; print(memsessions.metrics.snapshot.__name__, memsessions.repair.__name__)",
        "from memsessions import metrics, repair; print(metrics.snapshot.__name__, repair.__name__)",
        "from memsessions import *; print(metrics.snapshot.__name__, repair.__name__)",
        "import memsessions.metrics as metrics; print(metrics.snapshot.__name__, 'repair')",
    ],
)
def test_what_comes_later_is_found_however_it_is_asked_for(code: str) -> None:
    assert printed(code) == "snapshot repair"


def test_what_comes_later_is_listed() -> None:
    code = "import memsessions; print({*memsessions.__all__} - {*dir(memsessions)})"
    assert printed(code) == "set()"


def test_what_is_not_there_is_said() -> None:
    code = """
import memsessions
try:
    memsessions.nothing
except AttributeError as error:
    print(error)
try:
    from memsessions import nothing
except ImportError as error:
    print(type(error).__name__)
"""
    assert printed(code).splitlines() == ["module 'memsessions' has no attribute 'nothing'", "ImportError"]
