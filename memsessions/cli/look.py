"""The commands that look: nothing here counts as a use of a session, or keeps one alive."""

from __future__ import annotations

import time

from ..errors import StoreError
from ..nodes import Node
from ..operating import on_each_server
from .frame import Frame, command
from .output import Table, styled


@command("ping")
def ping(frame: Frame) -> None:
    """Ask each server for a sign of life, and say how long the answer took."""

    def timed(node: Node) -> float:
        node.ping()  # which also connects
        started = time.perf_counter()
        node.ping()
        return round((time.perf_counter() - started) * 1000, 3)

    outcomes = on_each_server(frame.client, timed)
    frame.out.answer(
        [
            {"server": server, "error": outcome.reason}
            if isinstance(outcome, StoreError)
            else {"server": server, "answer": "PONG", "ms": outcome}
            for server, outcome in outcomes
        ],
        Table(
            ("server", "answer", "ms"),
            [
                (server, styled("no answer", "red"), None)
                if isinstance(outcome, StoreError)
                else (server, styled("PONG", "green"), outcome)
                for server, outcome in outcomes
            ],
        ),
    )
    frame.fail([outcome for _, outcome in outcomes if isinstance(outcome, StoreError)])
