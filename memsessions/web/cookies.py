"""The session's cookie: what it is called, where browsers may send it, how it is set, deleted and found."""

from __future__ import annotations

import re

from ..errors import ConfigurationError, InvalidFormat
from ..tokens import TTL_MAX_S

#: 400 days in seconds: browsers keep no cookie for longer.
LONGEST_S = 400 * 24 * 3600

_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,256}")
_VALUE = re.compile(r"[!#-+\--:<-\[\]-~]*")
_PATH = re.compile(r"/[ -:<-~]{0,1023}")
_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_DOMAIN = re.compile(rf"\.?{_LABEL}(\.{_LABEL})*")
_DOMAIN_LENGTH = 253
_SAMESITE = {"lax": "Lax", "strict": "Strict", "none": "None"}
_PAST = "Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT"


class Cookie:
    """Makes the `Set-Cookie` header of a session's cookie, and finds it in what a browser sends.

    The store says when a session ends, so the cookie may live for long: a page that only reads renews the
    session's life and needs no cookie to say so.

    Parameters:
        name: 1 to 256 letters, digits and ``! # $ % & ' * + - . ^ _ ` | ~``. Names that begin with
            `__Host-`, `__Secure-`, `__Http-` or `__Host-Http-` (in upper or lower case) make browsers refuse
            the cookie where it does not have the attributes that belong to them; so does this class.
        path: where on the site it is sent; at most 1024 characters.
        domain: the domain whose hosts, too, are sent it; None for the host that set it, and no other.
        secure: sent by https only. None: if it was set by https, for a site that is tried out by http.
        httponly: not shown to scripts.
        samesite: `"Lax"`, `"Strict"` or `"None"`, in upper or lower case; None leaves the attribute out, and
            browsers choose.
        partitioned: kept apart for each site that embeds this one.
        max_age: seconds for which browsers keep it, from 1 to 10 years, of which they take 400 days at most;
            None until they are closed.

    Raises:
        ConfigurationError: names the attribute that cannot be, or cannot be with the others.
    """

    __slots__ = ("_attributes", "_found", "_kept", "name")

    def __init__(
        self,
        name: str = "session",
        *,
        path: str = "/",
        domain: str | None = None,
        secure: bool | None = None,
        httponly: bool = True,
        samesite: str | None = "Lax",
        partitioned: bool = False,
        max_age: int | None = LONGEST_S,
    ) -> None:
        _check_text(name, path, domain)
        if secure is not None:
            _check_flag("secure", secure)
        _check_flag("httponly", httponly)
        _check_flag("partitioned", partitioned)
        samesite = _samesite(samesite)
        _check_max_age(max_age)
        _check_prefix(name, path, domain, secure, httponly)
        for needs_it, what in ((samesite == "None", 'samesite "None"'), (partitioned, "partitioned")):
            if needs_it and secure is not True:
                raise ConfigurationError(
                    f"{what} needs secure=True: browsers refuse such a cookie without it"
                )
        self.name = name
        self._kept = "" if max_age is None else f"; Max-Age={max_age}"
        always = [
            f"Path={path}",
            *([] if domain is None else [f"Domain={domain}"]),
            *(["HttpOnly"] if httponly else []),
            *([] if samesite is None else [f"SameSite={samesite}"]),
            *(["Partitioned"] if partitioned else []),
        ]
        plain = "; ".join(always)
        safe = f"{plain}; Secure"
        #: By whether the request came by https.
        self._attributes = (safe if secure else plain, plain if secure is False else safe)
        self._found = re.compile(rf"(?:^|;)[ \t]*{re.escape(name)}[ \t]*=([^;]*)")

    def __repr__(self) -> str:
        return f"<Cookie {self.header('...', https=False)}>"

    def header(self, value: str, https: bool) -> str:
        """The value of the `Set-Cookie` header that sets it; `""` deletes it, with the same attributes.

        Parameters:
            value: printable ASCII without space, comma, semicolon, quote and backslash.
            https: whether the request came by https.

        Raises:
            InvalidFormat: the value has other characters.
        """
        if not _VALUE.fullmatch(value):
            raise InvalidFormat('The value of a cookie must be printable ASCII without space and , ; " \\')
        lifetime = self._kept if value else f"; {_PAST}"
        return f"{self.name}={value}; {self._attributes[bool(https)]}{lifetime}"

    def find(self, cookie_header: str | None) -> str | None:
        """The value in a request's `Cookie` header, whatever else that holds; one that is empty is None.

        Of several with this name it is the first: browsers send the one with the longest path first. The time
        this takes grows with the header's length, and no faster.

        Parameters:
            cookie_header: as the server gives it; several headers joined by `"; "`; None if there is none.
        """
        # Split at every semicolon, as browsers mean it: a quote that hid one would let a cookie of another
        # name hide or forge this one.
        found = None if cookie_header is None else self._found.search(cookie_header)
        if found is None:
            return None
        value = found[1].strip(" \t")
        if len(value) > 1 and value[0] == value[-1] == '"':
            value = value[1:-1]
        return value or None


def vary_on_cookie(vary: str | None) -> str:
    """The value of a `Vary` header that names `Cookie`, too.

    Parameters:
        vary: the header's value without it, several joined by `", "`; None if there is none.
    """
    if vary is None or not vary.strip():
        return "Cookie"
    if {"*", "cookie"} & {name.strip().lower() for name in vary.split(",")}:
        return vary
    return f"{vary}, Cookie"


def _check_text(name: object, path: object, domain: object) -> None:
    if not (isinstance(name, str) and _NAME.fullmatch(name)):
        raise ConfigurationError("name must be 1 to 256 letters, digits and ! # $ % & ' * + - . ^ _ ` | ~")
    if not (isinstance(path, str) and _PATH.fullmatch(path)):
        raise ConfigurationError(
            "path must begin with / and be at most 1024 characters of printable ASCII without ;"
            " (write others as %XX)"
        )
    if domain is not None and not (
        isinstance(domain, str) and len(domain) <= _DOMAIN_LENGTH and _DOMAIN.fullmatch(domain)
    ):
        raise ConfigurationError(
            "domain must be a host's name in ASCII, without scheme, port and path (example.org), or None"
        )


def _check_flag(name: str, value: object) -> None:
    if not isinstance(value, bool):
        other = " or None" if name == "secure" else ""
        raise ConfigurationError(f"{name} must be True or False{other}, not {type(value).__name__}")


def _samesite(value: object) -> str | None:
    if value is None:
        return None
    known = _SAMESITE.get(value.lower()) if isinstance(value, str) else None
    if known is None:
        raise ConfigurationError('samesite must be "Lax", "Strict" or "None", or None for no such attribute')
    return known


def _check_max_age(value: object) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= TTL_MAX_S:
        raise ConfigurationError(
            f"max_age must be an integer from 1 to {TTL_MAX_S} (seconds), or None: a cookie that lives until"
            " the browser is closed"
        )


def _check_prefix(name: str, path: str, domain: str | None, secure: bool | None, httponly: bool) -> None:
    """What browsers ask of a cookie whose name begins so; a server, too, may rely on it then."""
    folded = name.lower()
    prefix = next(
        (p for p in ("__Host-Http-", "__Host-", "__Secure-", "__Http-") if folded.startswith(p.lower())), ""
    )
    if not prefix:
        return
    wrong = [
        what
        for what, holds in (
            ("secure=True", secure is True),
            ('path="/"', path == "/" or not prefix.startswith("__Host-")),
            ("domain=None", domain is None or not prefix.startswith("__Host-")),
            ("httponly=True", httponly or "Http-" not in prefix),
        )
        if not holds
    ]
    if wrong:
        raise ConfigurationError(f"a name that begins with {prefix} needs {', '.join(wrong)}")
