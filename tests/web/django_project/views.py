"""The pages of the behaviour suite, in Django's own words, and others for tests of Django's own."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth import login, logout
from django.http import HttpRequest, HttpResponseBase, JsonResponse, StreamingHttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from memsessions import django as engine

from ..pages import Visit
from ..site import PATH
from .models import Person


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


urlpatterns = [path(PATH.removeprefix("/"), visit)]
