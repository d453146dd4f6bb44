"""What Django's app registry has to know."""

from __future__ import annotations

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, register
from django.core.exceptions import ImproperlyConfigured

from .configured import SETTING, configure


class MemsessionsConfig(AppConfig):
    """The app: the command `memsessions`, and the check of the setting."""

    name = "memsessions.django"
    label = "memsessions"
    verbose_name = "Sessions on memcached"

    def ready(self) -> None:
        """Have `manage.py check` look at the setting."""
        register(check_setting)


def check_setting(**_: object) -> list[CheckMessage]:
    """Whether `MEMSESSIONS` is usable; nothing is contacted."""
    try:
        configure(getattr(settings, SETTING, None)).client.close()
    except ImproperlyConfigured as error:
        return [Error(str(error), id="memsessions.E001")]
    return []
