"""`demo`: the life of some sessions, told line by line."""

from __future__ import annotations

import contextlib

import click
from rich.text import Text

from ..client import SessionsClient
from ..errors import StoreError
from ..operating import on_each_server
from ..store.operations import Delete
from .frame import Frame, command
from .output import Output

_APP = "forum"
_NS = "memsessions-demo"


@command("demo")
def demo(frame: Frame) -> None:
    """Create, read, list and end a few sessions, and say so.

    Without --server that is done in this process: $MEMSESSIONS_SERVERS and $MEMSESSIONS_NS do not count here.
    On a server nothing of it is left: its sessions are in a namespace of their own, so --ns is refused.
    """
    if frame.ns is not None:
        raise click.UsageError(f"the demo has a namespace of its own, {_NS}: leave out --ns")
    options = {} if frame.servers else {"servers": "memory://"}
    with frame.open(ns=_NS, **options) as rs:
        rs.killall(_APP)  # what a demo that was killed may have left
        try:
            story = _Story(frame.out)
            _tell(rs, story)
        finally:
            with contextlib.suppress(StoreError):
                rs.killall(_APP)
                rs.wipe()
                on_each_server(rs, lambda node: node.store.run((Delete(node.registry.key),)))
    if frame.out.as_json:
        frame.out.answer(story.calls)


class _Story:
    """Shows what is done; with --json it is kept until the end."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._begun = False
        self.calls: list[dict[str, object]] = []

    def say(self, text: str) -> None:
        if self._begun:
            self._out.show("")
        self._begun = True
        self._out.show(Text(text, style="bold"))

    def add(self, text: str) -> None:
        self._out.show(f"  {text}")

    def answered(self, call: str, answer: object) -> None:
        self.calls.append({"call": call.strip(" :"), "answer": answer})
        self._out.show(Text.assemble("  ", (call, "cyan"), f" {answer}"))


def _tell(rs: SessionsClient, story: _Story) -> None:
    say, answered = story.say, story.answered
    say(f"{rs!r} answers {rs.ping()}")

    say("Alice logs in on her phone and on her laptop, Bob on his desk:")
    phone = rs.create(_APP, "alice", "203.0.113.7", ttl=3600, d={"theme": "dark"})["token"]
    laptop = rs.create(_APP, "alice", "198.51.100.4")["token"]
    rs.create(_APP, "bob", "192.0.2.99")
    story.add(f"each gets a token of {len(phone)} characters, which the store knows only as a hash")

    say("A request comes in with the phone's token:")
    answered("get  ", rs.get(_APP, phone))
    say("It stores something, and removes something (None):")
    answered("set  ", rs.set(_APP, phone, {"unread": 34, "theme": None}))

    say("Where is Alice logged in? Who is active?")
    for session in rs.soid(_APP, "alice"):
        answered("soid ", f"{session['ip']}, idle for {session['idle']} s, reads: {session['r']}")
    answered("soapp", [session["id"] for session in rs.soapp(_APP)])
    answered("activity", rs.activity(_APP))

    say("Alice enters her password again: the laptop's session gets a new token, the old one is dead:")
    rotated = rs.rotate(_APP, laptop)
    answered("get with the old token:", rs.get(_APP, laptop))
    answered("get with the new token:", rs.get(_APP, rotated["token"]) if rotated else None)

    say("The phone is lost: log Alice out everywhere:")
    answered("killsoid", rs.killsoid(_APP, "alice"))
    answered("get with the phone's token:", rs.get(_APP, phone))

    say("Closing time: end every session of the app, and tidy its index:")
    answered("killall", rs.killall(_APP))
    answered("wipe", rs.wipe())
