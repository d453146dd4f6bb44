"""Completion in real shells, at a terminal."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from memsessions.cli import codes

from ..conftest import OnMemcached
from .support import At, Terminal, ask

SHELLS = {
    "bash": (["--norc", "--noprofile", "-i"], 'eval "$(memsessions completion bash)"'),
    "zsh": (["-f", "-i"], 'autoload -Uz compinit; compinit -D -u; eval "$(memsessions completion zsh)"'),
    "fish": (["--no-config", "-i"], "memsessions completion fish | source"),
}


@pytest.mark.parametrize("name", SHELLS)
def test_a_shell_completes_commands_options_and_the_apps_of_the_store(
    name: str, on_memcached: OnMemcached, tmp_path: Path
) -> None:
    shell = shutil.which(name)
    if shell is None:
        pytest.skip(f"{name} is not installed")
    At(on_memcached.address, on_memcached.ns).ask("create", "forum-of-friends", "alice")
    options, setup = SHELLS[name]
    env = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "PS1": "> ",
        "MEMSESSIONS_SERVERS": on_memcached.address,
        "MEMSESSIONS_NS": on_memcached.ns,
    }
    with Terminal(*options, env=env, program=(shell,), columns=120, rows=40) as terminal:
        terminal.type(f"{setup}; echo re''ady\r")
        terminal.wait_for("\nready")
        terminal.type("memsessions compl\t")
        terminal.wait_for("memsessions completion")
        terminal.type("f\t")
        terminal.wait_for("memsessions completion fish")
        terminal.type("\x15memsessions sessions foru\t")
        terminal.wait_for("memsessions sessions forum-of-friends")
        terminal.type("--lim\t")
        terminal.wait_for("memsessions sessions forum-of-friends --limit")


def test_completion_asks_the_store_that_the_line_names(there: At) -> None:
    there.ask("create", "forum", "alice")
    there.ask("create", "shop", "alice")

    def completed(*words: str) -> list[str]:
        env = {
            "_MEMSESSIONS_COMPLETE": "bash_complete",
            "COMP_WORDS": " ".join(words),
            "COMP_CWORD": str(len(words) - 1),
        }
        done = ask(env=env)
        assert done.err == ""
        return [line.removeprefix("plain,") for line in done.out.split()]

    assert completed("memsessions", *there.options, "show", "f") == ["forum"]
    assert completed("memsessions", "show", *there.options, "s") == ["shop"]
    assert completed("memsessions", "--server", "127.0.0.1:1", "show", "f") == []
    assert completed("memsessions", "--server", "a:b:c", "show", "f") == []


def test_a_shell_that_is_not_known_is_bad_usage() -> None:
    done = ask("completion", "tcsh")
    assert done.code == codes.USAGE
    assert "'bash', 'zsh', 'fish'" in done.err
