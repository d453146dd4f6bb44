"""What a session's methods that ask the store are in an event loop: the same, in a thread.

Django has them from 5.1 on, where `aget`, `aset` and the others of its dict are built on these.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from asgiref.sync import sync_to_async
from django.contrib.sessions.backends.base import SessionBase
from django.utils.asyncio import async_unsafe

P = ParamSpec("P")
T = TypeVar("T")

#: Refuses to wait in an event loop.
waits = async_unsafe(
    "In an event loop a session can be asked only by its async methods (aget() and others, from Django 5.1"
    " on); anything else goes by sync_to_async."
)


def _in_thread(function: Callable[P, T]) -> Callable[P, Coroutine[Any, Any, T]]:
    return sync_to_async(function, thread_sensitive=False)  # it waits for nothing but the store


class AsyncMethods(SessionBase):
    """The async methods of a session that has the others."""

    async def aexists(self, session_key: str | None) -> bool:
        """As `exists`."""
        return await _in_thread(self.exists)(session_key or "")

    async def aload(self) -> dict[str, Any]:
        """As `load`."""
        return await _in_thread(self.load)()

    async def acreate(self) -> None:
        """As `create`."""
        await _in_thread(self.create)()

    async def asave(self, must_create: bool = False) -> None:
        """As `save`."""
        await _in_thread(self.save)(must_create)

    async def adelete(self, session_key: str | None = None) -> None:
        """As `delete`."""
        await _in_thread(self.delete)(session_key)

    async def acycle_key(self) -> None:
        """As `cycle_key`."""
        await _in_thread(self.cycle_key)()

    async def aflush(self) -> None:
        """As `flush`."""
        await _in_thread(self.flush)()

    async def apop(self, key: str, *default: Any, **named: Any) -> Any:
        """As `pop`."""
        return await _in_thread(self.pop)(key, *default, **named)

    @classmethod
    async def aclear_expired(cls) -> None:
        """As `clear_expired`."""
        await _in_thread(cls.clear_expired)()
