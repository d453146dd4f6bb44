"""`manage.py memsessions`: list and end a user's sessions."""

from __future__ import annotations

import json
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DEFAULT_DB_ALIAS

from ....errors import LogoutIncomplete, MemsessionsError, ValidationError
from ...devices import Device, devices, end_all, end_device, user_id

EXIT_UNAVAILABLE = 3


class Command(BaseCommand):
    """Lists a user's sessions, and ends one or all of them."""

    help = "List or end a user's sessions. Exit code 3: the store cannot be reached."

    def add_arguments(self, parser: CommandParser) -> None:
        """`list USER` and `end USER`."""
        actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
        for action, text in (("list", "show where a user is logged in"), ("end", "log a user out")):
            of_action = actions.add_parser(action, help=text, description=f"{text.capitalize()}.")
            of_action.add_argument("user", help="the user's name, or primary key with --pk")
            of_action.add_argument(
                "--pk", action="store_true", help="USER is a primary key, for which no database is asked"
            )
            of_action.add_argument(
                "--database",
                default=DEFAULT_DB_ALIAS,
                help="where to look for the user; default: %(default)s",
            )
            of_action.add_argument("--json", action="store_true", dest="as_json", help="answer in JSON")
            if action == "end":
                of_action.add_argument(
                    "--device", metavar="HANDLE", help="end this one only, instead of all; see list"
                )

    def handle(self, **options: Any) -> None:
        """Do it. Errors of the store are `CommandError`s."""
        user = self._user(**options)
        try:
            if options["action"] == "list":
                self._list(options["user"], devices(user), options["as_json"])
            else:
                self._end(options["user"], user, options["device"], options["as_json"])
        except LogoutIncomplete as error:
            done = f"{error.killed} of the sessions ended, some may live. Call it again. {error}"
            raise CommandError(done, returncode=EXIT_UNAVAILABLE) from error
        except ValidationError as error:
            raise CommandError(str(error)) from error
        except MemsessionsError as error:
            raise CommandError(str(error), returncode=EXIT_UNAVAILABLE) from error

    def _user(self, user: str, pk: bool, database: str, **_: object) -> str:
        if pk:
            return user
        model = get_user_model()
        users: Any = model._default_manager  # noqa: SLF001  what Django calls it
        try:
            found = users.db_manager(database).get_by_natural_key(user)
        except model.DoesNotExist:
            raise CommandError(f"there is no user {user!r}") from None
        return user_id(found)

    def _list(self, name: str, found: list[Device], as_json: bool) -> None:
        if as_json:
            self.stdout.write(json.dumps(found))
            return
        self.stdout.write(_counted(len(found), name))
        for device in found:
            line = f"{device['handle']}  {device['ip']:<15}  idle {device['idle']} s  {device['last_seen']}"
            self.stdout.write(line)

    def _end(self, name: str, user: str, handle: str | None, as_json: bool) -> None:
        ended = end_all(user) if handle is None else int(end_device(user, handle))
        if handle is not None and not ended:
            raise CommandError(f"{name} has no such session")
        self.stdout.write(json.dumps({"ended": ended}) if as_json else f"{_counted(ended, name)} ended")


def _counted(sessions: int, name: str) -> str:
    return f"{sessions} session{'' if sessions == 1 else 's'} of {name}"
