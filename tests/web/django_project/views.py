"""The pages of the behaviour suite, in Django's own words, and others for tests of Django's own."""

from __future__ import annotations

from typing import Any

import django
from asgiref.sync import sync_to_async
from django.contrib import messages
from django.contrib.auth import login, logout, update_session_auth_hash
from django.http import HttpRequest, HttpResponseBase, JsonResponse, StreamingHttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from memsessions import django as engine

from ..pages import PageFailed, Visit
from ..site import PATH
from .models import Person

if django.VERSION >= (5, 0):
    from django.contrib.auth import alogin, alogout


class DjangoHands:
    """What a view does with a session."""

    def __init__(self, request: HttpRequest) -> None:
        self._request = request

    @property
    def session(self) -> Any:
        return self._request.session

    def flash(self, key: str, value: str) -> None:
        messages.info(self._request, value, extra_tags=key)

    def flashed(self, key: str) -> str | None:
        found = [message for message in messages.get_messages(self._request) if message.extra_tags == key]
        return str(found[0]) if found else None

    def regenerate(self) -> None:
        self._request.session.cycle_key()

    def destroy(self) -> None:
        logout(self._request)

    def bind(self, user: str | None) -> None:
        if user is None:
            logout(self._request)
        else:
            login(self._request, Person.objects.get_by_natural_key(user))

    def devices(self) -> list[dict[str, Any]]:
        return [dict(device) for device in engine.devices(self._request.user, self._request.session)]

    def end_device(self, handle: str) -> bool:
        return engine.end_device(self._request.user, handle)


@csrf_exempt
def visit(request: HttpRequest) -> HttpResponseBase:
    page = Visit(request.body)
    answer = page.perform(DjangoHands(request))
    if page.streams:
        return StreamingHttpResponse(page.chunks(answer), content_type="application/json")
    return JsonResponse(answer)


def change_password(request: HttpRequest) -> HttpResponseBase:
    """As `PasswordChangeView` does it."""
    request.user.set_password(request.POST["password"])
    update_session_auth_hash(request, request.user)  # type: ignore[arg-type]
    return JsonResponse({})


def log_in_and_fail(request: HttpRequest) -> HttpResponseBase:
    login(request, Person.objects.get_by_natural_key("user1234"))
    raise PageFailed


async def count(request: HttpRequest) -> HttpResponseBase:
    """An async view, by Django's async methods where it has them."""
    session = request.session
    if django.VERSION < (5, 1):
        seen: int = await sync_to_async(lambda: session.get("seen", 0))()
        session["seen"] = seen + 1  # which is read now
    else:
        seen = await session.aget("seen", 0)
        await session.aset("seen", seen + 1)
    return JsonResponse({"seen": seen, "user": await sync_to_async(lambda: request.user.pk)()})


async def blocking(request: HttpRequest) -> HttpResponseBase:
    """One that forgets it."""
    return JsonResponse({"seen": request.session.get("seen")})


async def async_log_in(request: HttpRequest) -> HttpResponseBase:
    await alogin(request, Person.objects.get_by_natural_key("user1234"))
    return JsonResponse({})


async def async_log_out(request: HttpRequest) -> HttpResponseBase:
    await alogout(request)
    return JsonResponse({})


urlpatterns = [
    path(PATH.removeprefix("/"), visit),
    path("change-password", change_password),
    path("log-in-and-fail", log_in_and_fail),
    path("count", count),
    path("blocking", blocking),
    path("async-log-in", async_log_in),
    path("async-log-out", async_log_out),
]
