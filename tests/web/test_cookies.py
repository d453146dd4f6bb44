"""The session's cookie: only what browsers take is made, and it is found among whatever they send."""

from __future__ import annotations

import email.message
import email.utils
import http.cookiejar
import itertools
import string
import time
import urllib.request
from http.cookies import SimpleCookie
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.http import parse_cookie

from memsessions import ConfigurationError, InvalidFormat
from memsessions.web.cookies import LONGEST_S, Cookie, vary_on_cookie

from .site import parts

TOKEN_CHARACTERS = string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~"
VALUE_CHARACTERS = "".join(chr(c) for c in range(0x21, 0x7F) if chr(c) not in '",;\\')

names = st.text(TOKEN_CHARACTERS, min_size=1, max_size=20).filter(lambda name: not name.startswith("__"))
values = st.text(VALUE_CHARACTERS, min_size=1, max_size=120)


# ------------------------------------------------------------------------------------------- setting it


def test_a_cookie_is_kept_from_scripts_and_other_sites_by_default() -> None:
    assert parts(Cookie().header("v", https=False)) == (
        "v",
        {"path": "/", "httponly": "", "samesite": "Lax", "max-age": str(LONGEST_S)},
    )


def test_it_is_secure_when_it_is_set_by_https_unless_told_otherwise() -> None:
    for secure, by_http, by_https in ((None, False, True), (True, True, True), (False, False, False)):
        cookie = Cookie(secure=secure)
        assert ("secure" in parts(cookie.header("v", https=False))[1]) is by_http
        assert ("secure" in parts(cookie.header("v", https=True))[1]) is by_https


def test_every_attribute_is_sent_as_it_was_given() -> None:
    cookie = Cookie(
        "__Secure-id",
        path="/shop/a b",
        domain="example.org",
        secure=True,
        httponly=False,
        samesite="none",
        partitioned=True,
        max_age=60,
    )
    assert parts(cookie.header("v", https=True)) == (
        "v",
        {
            "path": "/shop/a b",
            "domain": "example.org",
            "secure": "",
            "samesite": "None",
            "partitioned": "",
            "max-age": "60",
        },
    )


@pytest.mark.parametrize("given", ["Lax", "lax", "STRICT", "Strict", "None", "nONE"])
def test_samesite_is_taken_in_any_case_and_sent_in_the_usual_one(given: str) -> None:
    header = Cookie(samesite=given, secure=True).header("v", https=True)
    assert parts(header)[1]["samesite"] == given.capitalize()


def test_attributes_that_are_none_are_left_out() -> None:
    attributes = parts(Cookie(samesite=None, max_age=None).header("v", https=False))[1]
    assert not attributes.keys() & {"samesite", "max-age", "expires", "domain"}


@pytest.mark.parametrize("https", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"path": "/shop", "domain": "example.org", "secure": True, "samesite": "None", "partitioned": True},
        {"httponly": False, "samesite": None, "secure": False, "max_age": None},
    ],
)
def test_it_is_deleted_with_the_attributes_it_was_set_with(options: dict[str, Any], https: bool) -> None:
    """Browsers delete only what has the same name, domain and path, and refuse what lacks what it needs."""
    cookie = Cookie(**options)
    set_with = parts(cookie.header("v", https))[1]
    value, deleted_with = parts(cookie.header("", https))
    assert value == ""
    assert deleted_with.pop("max-age") == "0"
    assert email.utils.parsedate_to_datetime(deleted_with.pop("expires")).timestamp() == 0
    set_with.pop("max-age", None)
    assert deleted_with == set_with


@pytest.mark.parametrize(
    "value", ["a b", "a;b", "a,b", 'a"b', "a\\b", "a\r\nSet-Cookie: x=y", "\x00", "é", "\x7f"]
)
def test_a_value_that_would_end_or_break_the_header_is_refused_and_not_shown(value: str) -> None:
    with pytest.raises(InvalidFormat, match="printable ASCII") as caught:
        Cookie().header(value, https=True)
    assert value not in str(caught.value)


class _Response:
    """What `http.cookiejar` has to know of a response."""

    def __init__(self, set_cookie: str) -> None:
        self._message = email.message.Message()
        self._message["Set-Cookie"] = set_cookie

    def info(self) -> email.message.Message:
        return self._message


def jar_of(*headers: str, site: str = "https://www.example.org/shop/cart") -> list[http.cookiejar.Cookie]:
    """The cookies that a real jar keeps of some `Set-Cookie` headers."""
    jar = http.cookiejar.CookieJar()
    for header in headers:
        jar.extract_cookies(cast(Any, _Response(header)), urllib.request.Request(site))
    return list(jar)


@given(
    name=names,
    value=values,
    path=st.sampled_from(["/", "/shop", "/shop/cart"]),
    domain=st.sampled_from([None, "example.org", ".example.org", "www.example.org"]),
    secure=st.booleans(),
    httponly=st.booleans(),
    samesite=st.sampled_from([None, "lax", "Strict"]),
    max_age=st.one_of(st.none(), st.integers(1, LONGEST_S)),
)
def test_another_library_keeps_what_is_made_and_forgets_what_is_deleted(
    name: str,
    value: str,
    path: str,
    domain: str | None,
    secure: bool,
    httponly: bool,
    samesite: str | None,
    max_age: int | None,
) -> None:
    cookie = Cookie(
        name,
        path=path,
        domain=domain,
        secure=secure,
        httponly=httponly,
        samesite=samesite,
        max_age=max_age,
    )
    header = cookie.header(value, https=True)
    [kept] = jar_of(header)
    assert (kept.name, kept.value, kept.path, kept.secure) == (name, value, path, secure)
    assert kept.domain == ("www.example.org" if domain is None else "." + domain.lstrip("."))
    assert kept.has_nonstandard_attr("HttpOnly") is httponly
    assert kept.get_nonstandard_attr("SameSite") == (samesite and samesite.capitalize())
    if max_age is None:
        assert kept.discard
    else:
        assert kept.expires is not None
        assert abs(kept.expires - time.time() - max_age) < 60
    assert jar_of(header, cookie.header("", https=True)) == []


@given(value=values, secure=st.booleans())
def test_the_standard_librarys_own_cookies_read_it_alike(value: str, secure: bool) -> None:
    morsel = SimpleCookie(Cookie(secure=secure, path="/a").header(value, https=True))["session"]
    assert (morsel.value, morsel["path"], morsel["secure"], morsel["httponly"]) == (
        value,
        "/a",
        secure or "",
        True,
    )


# ----------------------------------------------------------------------------------- what cannot be made


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": ""}, "name must be 1 to 256"),
        ({"name": "a b"}, "name must be"),
        ({"name": "a=b"}, "name must be"),
        ({"name": "a;b"}, "name must be"),
        ({"name": "sessión"}, "name must be"),
        ({"name": "a\n"}, "name must be"),
        ({"name": "n" * 257}, "name must be"),
        ({"name": None}, "name must be"),
        ({"name": b"session"}, "name must be"),
        ({"path": ""}, "path must begin with /"),
        ({"path": "shop"}, "path must begin with /"),
        ({"path": "/a;b"}, "without ;"),
        ({"path": "/a\tb"}, "printable ASCII"),
        ({"path": "/a\n"}, "printable ASCII"),
        ({"path": "/é"}, "write others as %XX"),
        ({"path": "/" + "p" * 1024}, "1024"),
        ({"path": None}, "path must"),
        ({"domain": ""}, "domain must be a host's name"),
        ({"domain": "example.org; Secure"}, "domain must be"),
        ({"domain": "example.org\n"}, "domain must be"),
        ({"domain": "example.org:8000"}, "without scheme, port"),
        ({"domain": "https://example.org"}, "without scheme"),
        ({"domain": "exämple.org"}, "in ASCII"),
        ({"domain": "a..b"}, "domain must be"),
        ({"domain": "a." * 130 + "org"}, "domain must be"),
        ({"domain": 5}, "domain must be"),
        ({"secure": 1}, "secure must be True or False or None, not int"),
        ({"httponly": None}, "httponly must be True or False, not NoneType"),
        ({"partitioned": "yes"}, "partitioned must be True or False, not str"),
        ({"samesite": "loose"}, 'samesite must be "Lax", "Strict" or "None"'),
        ({"samesite": False}, "samesite must be"),
        ({"max_age": 0}, "max_age must be an integer from 1 to"),
        ({"max_age": -1}, "max_age must be"),
        ({"max_age": 1.5}, "max_age must be"),
        ({"max_age": True}, "max_age must be"),
        ({"max_age": 10**12}, "max_age must be"),
        ({"samesite": "None"}, 'samesite "None" needs secure=True'),
        ({"samesite": "none", "secure": False}, 'samesite "None" needs secure=True'),
        ({"partitioned": True}, "partitioned needs secure=True"),
        ({"name": "__Secure-id"}, "begins with __Secure- needs secure=True$"),
        ({"name": "__sEcure-id", "secure": False}, "begins with __Secure- needs secure=True$"),
        ({"name": "__Host-id"}, "begins with __Host- needs secure=True$"),
        ({"name": "__Host-id", "secure": True, "path": "/a"}, '__Host- needs path="/"$'),
        ({"name": "__host-id", "secure": True, "domain": "a.org"}, "__Host- needs domain=None$"),
        (
            {"name": "__HOST-id", "path": "/a", "domain": "a.org"},
            '__Host- needs secure=True, path="/", domain=None$',
        ),
        ({"name": "__Http-id", "secure": True, "httponly": False}, "__Http- needs httponly=True$"),
        ({"name": "__Host-Http-id", "secure": True, "httponly": False}, "__Host-Http- needs httponly=True$"),
        ({"name": "__Host-Http-id", "secure": True, "path": "/a"}, '__Host-Http- needs path="/"$'),
    ],
)
def test_what_browsers_would_not_take_is_refused_with_a_word_on_what_they_would(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Cookie(**options)


@pytest.mark.parametrize(
    "options",
    [
        {"name": TOKEN_CHARACTERS},
        {"name": "n" * 256},
        {"name": "__Host-id", "secure": True},
        {"name": "__HOST-ID", "secure": True},
        {"name": "__Secure-id", "secure": True, "path": "/a", "domain": "a.org", "httponly": False},
        {"name": "__Host-Http-id", "secure": True},
        {"name": "__Http-id", "secure": True, "path": "/a"},
        {"name": "__Hostess"},
        {"path": "/" + "p" * 1023},
        {"domain": "localhost"},
        {"domain": "10.0.0.1"},
        {"domain": ".xn--exmple-cua.org"},
        {"max_age": 1},
    ],
)
def test_what_browsers_take_is_made(options: dict[str, Any]) -> None:
    header = Cookie(**options).header("v", https=True)
    assert header.startswith(options.get("name", "session") + "=v; ")
    assert header.isprintable()


def test_its_repr_shows_how_it_is_set() -> None:
    assert repr(Cookie(max_age=60)) == "<Cookie session=...; Path=/; HttpOnly; SameSite=Lax; Max-Age=60>"


# --------------------------------------------------------------------------------------------- finding it


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (None, None),
        ("", None),
        ("session=v", "v"),
        ("a=1; session=v; b=2", "v"),
        ("a=1;session=v;b=2", "v"),
        ("  session \t=\t v  ", "v"),
        ('session="v"', "v"),
        ('session="', '"'),
        ('session=""', None),
        ("session=", None),
        ("session=;", None),
        ("session", None),
        ("=session", None),
        ("=; ;; =v;session", None),
        ("session=first; session=second", "first"),
        ("Session=other; SESSION=another", None),
        ("sessions=other; xsession=another; a=session=v", None),
        ("session=a=b", "a=b"),
        # A quote hides nothing: this is how browsers and other servers read it.
        ('a="1; session=v; b="', "v"),
        ('session="v; b="', '"v'),
        ("session=\xff\xfe", "\xff\xfe"),
        ("session=\udcff\x00", "\udcff\x00"),
        ("a=1, session=v", None),
        ("\nsession=v", None),
    ],
)
def test_it_is_found_among_whatever_a_client_sends(header: str | None, found: str | None) -> None:
    assert Cookie().find(header) == found


def test_a_name_is_looked_for_as_it_stands() -> None:
    assert Cookie("a.b").find("aXb=1; a.b=2") == "2"
    assert Cookie("$+|").find("a=1; $+|=2") == "2"


others = st.lists(st.tuples(names, values.filter(lambda v: '"' not in v)))


@given(name=names, value=values, before=others, after=others, https=st.booleans())
def test_what_was_set_is_found_again_wherever_it_stands(
    name: str, value: str, before: list[tuple[str, str]], after: list[tuple[str, str]], https: bool
) -> None:
    cookie = Cookie(name)
    sent = cookie.header(value, https).partition(";")[0]
    before = [(other, with_value) for other, with_value in before if other != name]
    each = [*(f"{n}={v}" for n, v in before), sent, *(f"{n}={v}" for n, v in after)]
    assert cookie.find("; ".join(each)) == value


@given(st.lists(st.tuples(st.sampled_from(["session", "a", "b", "Session"]), values)), names)
def test_it_is_what_another_library_finds(cookies: list[tuple[str, str]], name: str) -> None:
    header = "; ".join(f"{n}={v}" for n, v in cookies)
    parsed = parse_cookie(header)
    for each in ("session", name):
        assert Cookie(each).find(header) == parsed.get(each)


@given(st.one_of(st.text(), st.text('sesion=;", \t\\\x00')))
def test_no_header_makes_it_fail(header: str) -> None:
    found = Cookie().find(header)
    assert found is None or (found and found in header)


@pytest.mark.parametrize(
    "piece",
    [";", " ", "\t", "=", "session", "session ", "; ", ";session", ";session \t", '"', "session=;", "a=b; "],
)
def test_long_headers_take_time_in_proportion(piece: str) -> None:
    """100 times the length may take 100 times as long, and not 10,000 times: a client chooses it."""
    cookie = Cookie()
    short, long = (f";session{piece * (size // len(piece))};" for size in (10_000, 1_000_000))

    def least_s(header: str) -> float:
        took = []
        for _ in range(3):
            began = time.perf_counter()
            cookie.find(header)
            took.append(time.perf_counter() - began)
        return min(took)

    assert least_s(long) < 1500 * max(least_s(short), 5e-6)


# ------------------------------------------------------------------------------------------------- Vary


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, "Cookie"),
        ("", "Cookie"),
        ("Accept", "Accept, Cookie"),
        ("Accept, Origin", "Accept, Origin, Cookie"),
        ("cookie", "cookie"),
        ("Accept,COOKIE", "Accept,COOKIE"),
        ("*", "*"),
        ("Cookies", "Cookies, Cookie"),
    ],
)
def test_vary_names_the_cookie_once(before: str | None, after: str) -> None:
    assert vary_on_cookie(before) == after


def test_every_kind_of_cookie_ends_in_the_attributes_it_should() -> None:
    """All combinations that can be made: no attribute gets lost beside another."""
    flags = (True, False)
    for secure, httponly, partitioned, samesite in itertools.product(
        (None, *flags), flags, flags, (None, "Lax", "Strict", "None")
    ):
        if secure is not True and (partitioned or samesite == "None"):
            continue
        cookie = Cookie(secure=secure, httponly=httponly, partitioned=partitioned, samesite=samesite)
        attributes = parts(cookie.header("v", https=True))[1]
        assert ("secure" in attributes) is (secure is not False)
        assert ("httponly" in attributes) is httponly
        assert ("partitioned" in attributes) is partitioned
        assert attributes.get("samesite") == samesite
