"""The checks of who can reach a server, and what they could do there."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from ..wording import many
from .facts import Facts
from .findings import Check, Finding, Status

# What `stats settings` says of an address that was not given: all of them.
_EVERYWHERE = ("NULL", "(null)", "", "0.0.0.0", "::", "*")  # noqa: S104  what it listens at, not this
# OpenSSL's SSL_VERIFY_PEER and SSL_VERIFY_FAIL_IF_NO_PEER_CERT.
_CERTIFICATE_WANTED = 3


def access(facts: Facts) -> Finding | None:
    """Whether strangers could read, write and end sessions."""
    if facts.in_memory:
        return None
    password = facts.settings.get("auth_enabled_ascii", "no") not in ("no", "")
    asks = password or _wants_certificate(facts)
    if facts.protection.authenticated and facts.settings.get("auth_enabled_ascii") == "no":
        says = (
            "A user name and a password are set here, but it asks for none: everybody who reaches it can read"
            " and end sessions."
        )
        mend = "Start it with -Y, or unset both (MEMSESSIONS_USERNAME, _PASSWORD)."
        return Finding("access", "problem", says, mend)
    if isinstance(facts.address, str):
        return Finding("access", "ok", "It is reached by a socket file: from this machine only.")
    where, here, public = _exposure(facts)
    if here:
        return Finding("access", "ok", f"{where}: from this machine only.")
    crypted = facts.protection.encrypted or (_is_loopback(facts.hosts) and _is_on(facts, "ssl_enabled"))
    what = "password" if password else "certificate"
    lacks = [] if asks else ["asks for no password"]
    lacks += [] if crypted else ["does not encrypt"]
    if not lacks:
        if facts.protection.encrypted and not facts.protection.verified:
            says = f"{where}. It asks for a {what} and encrypts, but its own certificate is not checked here."
            return Finding("access", "warning", says, "Trust its certificate only: MEMSESSIONS_TLS_CA.")
        return Finding("access", "ok", f"{where}. It asks for a {what}, and encrypts.")
    says = f"{where}. It {' and '.join(lacks)}: who is in that network can "
    says += "listen in, to the password, too." if asks else "read, change and end sessions."
    status: Status = "problem" if public else "warning"
    mend = "Let it listen to loopback (-l 127.0.0.1), or ask for a password inside TLS (-Z, -Y)."
    return Finding("access", status, says, mend)


def _exposure(facts: Facts) -> tuple[str, bool, bool]:
    """From where the server can be reached: in words, whether only from here, and whether from everywhere."""
    host = str(facts.address[0])
    listens = _listens(facts)
    if not _is_loopback(facts.hosts):
        known = [each for each in facts.hosts if each != host]
        shown = f"{host} ({', '.join(known)})" if known else host
        public = any(ipaddress.ip_address(each).is_global for each in facts.hosts)
        network = "a public address" if public else "not loopback"
        return f"{shown} is {network if facts.hosts else 'a name that cannot be looked up'}", False, public
    if listens is None:
        return f"{host} is loopback", True, False
    if any(each in _EVERYWHERE for each in listens):
        return "It listens at all addresses of its machine", False, False
    elsewhere = [each for each in listens if not _is_loopback((each,))]
    if not elsewhere:
        return f"{host} is loopback, and it listens nowhere else", True, False
    return f"It listens at {', '.join(elsewhere)}, too", False, any(map(_is_public, elsewhere))


def _listens(facts: Facts) -> list[str] | None:
    """The hosts that the server listens at, as it was told; None if it does not say."""
    said = facts.settings.get("inter")
    if said is None:
        return None
    hosts = []
    for each in said.split(","):
        host = each.strip().removeprefix("notls:")
        if host.startswith("["):
            host = host[1:].partition("]")[0]
        elif host.count(":") == 1:
            host = host.partition(":")[0]
        hosts.append(host)
    return hosts


def _is_loopback(hosts: Iterable[str]) -> bool:
    """Whether all of them are, and there is one."""
    found = list(hosts)
    return bool(found) and all(each == "localhost" or _is(each, "is_loopback") for each in found)


def _is_public(host: str) -> bool:
    return _is(host, "is_global")


def _is(host: str, what: str) -> bool:
    try:
        return bool(getattr(ipaddress.ip_address(host.partition("%")[0]), what))
    except ValueError:
        return False


def _is_on(facts: Facts, setting: str) -> bool:
    return facts.settings.get(setting) == "yes"


def _wants_certificate(facts: Facts) -> bool:
    mode = facts.settings.get("ssl_verify_mode", "")
    wanted = mode.isdecimal() and int(mode) & _CERTIFICATE_WANTED == _CERTIFICATE_WANTED
    return wanted and _is_on(facts, "ssl_enabled")


def flush(facts: Facts) -> Finding | None:
    """Whether one command ends all sessions, and whether one did."""
    if facts.in_memory:
        return None
    flushed = facts.stat("cmd_flush") or 0
    says = "Nobody can end all sessions at once with flush_all, or stop the server."
    mend = ""
    status: Status = "ok"
    if _is_on(facts, "shutdown_command"):
        says, mend, status = "Whoever reaches it can stop it.", "Start it without -A.", "warning"
    if facts.settings.get("flush_enabled") != "no":
        more = " or stop it" if _is_on(facts, "shutdown_command") else ""
        says = f"Whoever reaches it can end all sessions with flush_all{more}."
        mend, status = f"Start it with -F{' and without -A' if more else ''}.", "warning"
    if flushed and status == "warning":
        says += f" That was done {many(flushed, 'time')} since it started."
    return Finding("flush", status, says, mend)


def dump(facts: Facts) -> Finding | None:
    """Whether it shows its keys: `repair` needs that, and only where items can be thrown out."""
    if facts.in_memory:
        return None
    if facts.evicts and facts.dumps:
        says = "It shows its keys, which `memsessions repair` needs where items can be thrown out."
        return Finding("dump", "ok", says)
    if facts.evicts:
        says = (
            "It may throw out an index item, and does not show its keys: what was lost cannot be found again."
        )
        return Finding("dump", "warning", says, "Start it with -M, or without -X (and with its crawler).")
    if facts.dumps:
        says = "Whoever reaches it can have it list its keys, and with -M nothing needs that."
        return Finding("dump", "warning", says, "Start it with -X.")
    return Finding("dump", "ok", "It does not show its keys, and with -M nothing needs that.")


CHECKS: dict[str, Check] = {"access": access, "flush": flush, "dump": dump}
