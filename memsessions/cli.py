"""The command `memsessions`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from . import __version__
from .client import SessionsClient
from .errors import ConfigurationError, MemsessionsError

EXIT_USAGE = 2
EXIT_UNAVAILABLE = 3

_APP = "forum"
_NS = "memsessions-demo"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code: 0 done, 2 bad usage, 3 the store is unavailable."""
    parser = argparse.ArgumentParser(prog="memsessions", description="Sessions on memcached.")
    parser.add_argument("--version", action="version", version=f"memsessions {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    demo_parser = commands.add_parser("demo", help="create, read, list and end a few sessions, and say so")
    demo_parser.add_argument(
        "--server",
        default="memory://",
        metavar="ADDRESS",
        help="a memcached, such as 127.0.0.1:11211, instead of the in-process store",
    )
    options = parser.parse_args(arguments)
    try:
        with SessionsClient(options.server, ns=_NS, wipe=0) as rs:
            demo(rs)
    except ConfigurationError as error:
        print(f"memsessions: {error}", file=sys.stderr)
        return EXIT_USAGE
    except MemsessionsError as error:
        print(f"memsessions: {error}", file=sys.stderr)
        return EXIT_UNAVAILABLE
    return 0


def demo(rs: SessionsClient) -> None:
    """The life of some sessions, told line by line; nothing of it is left on the store."""
    rs.killall(_APP)  # what a demo that was interrupted may have left
    print(f"{rs!r} answers {rs.ping()}")

    print("\nAlice logs in on her phone and on her laptop, Bob on his desk:")
    phone = rs.create(_APP, "alice", "203.0.113.7", ttl=3600, d={"theme": "dark"})["token"]
    laptop = rs.create(_APP, "alice", "198.51.100.4")["token"]
    rs.create(_APP, "bob", "192.0.2.99")
    print(f"  each gets a token of {len(phone)} characters, which the store knows only as a hash")

    print("\nA request comes in with the phone's token:")
    print(f"  get   {rs.get(_APP, phone)}")
    print("It stores something, and removes something (None):")
    print(f"  set   {rs.set(_APP, phone, {'unread': 34, 'theme': None})}")

    print("\nWhere is Alice logged in? Who is active?")
    for session in rs.soid(_APP, "alice"):
        print(f"  soid  {session['ip']}, idle for {session['idle']} s, reads: {session['r']}")
    print(f"  soapp {[session['id'] for session in rs.soapp(_APP)]}")
    print(f"  {rs.activity(_APP)} (distinct users)")

    print("\nAlice enters her password again: the laptop's session gets a new token, the old one is dead:")
    rotated = rs.rotate(_APP, laptop)
    print(f"  get with the old token: {rs.get(_APP, laptop)}")
    print(f"  get with the new token: {rs.get(_APP, rotated['token']) if rotated else None}")

    print("\nThe phone is lost: log Alice out everywhere:")
    print(f"  killsoid {rs.killsoid(_APP, 'alice')}")
    print(f"  get with the phone's token: {rs.get(_APP, phone)}")

    print("\nClosing time: end every session of the app, and tidy its index:")
    print(f"  killall {rs.killall(_APP)}")
    print(f"  wipe {rs.wipe()}")
