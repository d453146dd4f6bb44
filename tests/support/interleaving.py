"""Running two calls against each other, one operation on the store at a time, in every order that matters.

A packet is no transaction: a server may run other clients' commands between two of it. So here each
operation of a batch goes to the store on its own, and between any two of them the other call can run.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar, cast

from memsessions import SessionsClient, WriteRefused
from memsessions.store.operations import (
    Batch,
    Count,
    DeleteMany,
    LeftMany,
    Operation,
    PeekMany,
    Read,
    Store,
    Visit,
    Visited,
)

W = TypeVar("W")

Step = Callable[[Operation], None]


class Stepped:
    """A store that calls `step` before each single operation."""

    def __init__(self, store: Store, step: Step) -> None:
        self._store = store
        self._step = step

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def run(self, batch: Batch, *, repeatable: bool = False, deadline: float | None = None) -> list[Any]:
        del repeatable  # nothing here breaks
        answers: list[Any] = []
        refused: WriteRefused | None = None
        for op in batch:
            try:
                answers.append(self._answer(op, deadline))
            except WriteRefused as refusal:
                answers.append(None)
                refused = refused or refusal
        if refused is not None:
            refused.answers = answers
            raise refused
        return answers

    def _answer(self, op: Operation, deadline: float | None) -> Any:
        """The answer of an operation, of which each command is a step."""
        if isinstance(op, (DeleteMany, LeftMany, PeekMany)):
            return [self._one(type(op)(op.prefix, (name,)), deadline)[0] for name in op.names]
        return self._one(op, deadline)

    def visit(self, visit: Visit, deadline: float) -> Visited:
        key, touch, counter, touch_counter = visit
        item, count = self.run((Read(key, touch), Count(counter, touch_counter)), deadline=deadline)
        seen = (None, 0, 0) if item is None else item
        return (*seen, None, 0) if count is None else (*seen, count.value, touch_counter or count.left)

    def _one(self, op: Operation, deadline: float | None) -> Any:
        self._step(op)
        return self._store.run((op,), deadline=deadline)[0]

    def stream(self, batches: Iterable[Batch]) -> Iterator[list[Any]]:
        return map(self.run, batches)


def step_by_step(client: SessionsClient, step: Step) -> None:
    """Have a client call `step` before each of its operations."""
    client._nodes[0].store = cast(Store, Stepped(client._nodes[0].store, step))
    client._nodes[0].registry._store = client._nodes[0].store
    client._apps = {}  # what was made for an app before knows the store as it was
    client._nodes[0]._apps = {}


def _held_lock() -> threading.Lock:
    lock = threading.Lock()
    lock.acquire()
    return lock


class Call:
    """A call in a thread of its own, which stops before each operation."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call
        # Plain locks, held by nobody in particular: they change hands much faster than semaphores do.
        self._go = _held_lock()
        self._stopped = _held_lock()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._error: BaseException | None = None
        self.answer: Any = None
        self.ended = False

    def _work(self) -> None:
        self._go.acquire()
        try:
            self.answer = self._call()
        except BaseException as error:  # noqa: BLE001  raised by `advance`
            self._error = error
        self.ended = True
        self._stopped.release()

    def step(self, _op: Operation) -> None:
        """What the client calls; what it does in other threads is no part of this call."""
        if threading.current_thread() is self._thread:
            self._stopped.release()
            self._go.acquire()

    def run(self) -> None:
        """Run all of it in this thread, without a stop."""
        self.answer = self._call()
        self.ended = True

    def advance(self, operations: int | None = None) -> None:
        """Run so many operations, or to the end."""
        if self.ended:
            return
        if not self._thread.ident:
            self._thread.start()
            self._resume()
        for _ in itertools.count() if operations is None else range(operations):
            if self.ended:
                break
            self._resume()
        if self.ended:
            self._thread.join()
            if self._error is not None:
                raise self._error

    def _resume(self) -> None:
        self._go.release()
        if not self._stopped.acquire(timeout=30):
            raise AssertionError("the call hangs")


class Play(Generic[W]):
    """Two calls on a world that is made anew for each order in which they can run.

    `first` and `second` are given the world and a client each. `check` is given the world and what both
    answered.
    """

    def __init__(
        self,
        make: Callable[[], W],
        clients: Callable[[W], tuple[SessionsClient, SessionsClient]],
        first: Callable[[W, SessionsClient], Any],
        second: Callable[[W, SessionsClient], Any],
        check: Callable[[W, Any, Any], None],
    ) -> None:
        self._make = make
        self._clients = clients
        self._first = first
        self._second = second
        self._check = check

    def every_order(self) -> int:
        """Run the second call as a whole at every place in the first, and each part of it, with its rest
        after the first call has ended. Returns how many orders there were."""
        orders = 0
        for start in itertools.count():
            for part in itertools.chain([None], itertools.count(1)):
                orders += 1
                try:
                    reached, whole = self._once(start, part)
                except Exception as error:
                    ran = "as a whole" if part is None else f"by {part} operations, and then to its end,"
                    raise AssertionError(f"with the second call {ran} after {start} of the first") from error
                if not reached:
                    return orders
                if part is not None and whole:
                    break
        raise AssertionError("not reached")

    def _once(self, start: int, part: int | None) -> tuple[bool, bool]:
        """Whether the first call has so many operations, and the second no more than the part."""
        world = self._make()
        client, other = self._clients(world)
        call = Call(lambda: self._second(world, other))
        step_by_step(other, call.step)
        left = start
        whole = reached = False

        def count(_op: Operation) -> None:
            nonlocal left, reached, whole
            if left == 0:
                reached = True
                if part is None:
                    call.run()
                else:
                    call.advance(part)
                whole = call.ended
            left -= 1

        step_by_step(client, count)
        answer = self._first(world, client)
        call.advance()
        self._check(world, answer, call.answer)
        return reached, whole
