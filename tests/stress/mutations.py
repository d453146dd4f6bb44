"""What can be done to a reply: by the network, by a broken server, and by one that lies."""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ..support.relay import Exchange

#: Makes of a reply what the client gets, in pieces; None closes the connection.
Mutate = Callable[[Exchange, random.Random], Iterator["bytes | None"]]

_BLOCK = 1 << 16
_NUMBERS = [
    b"2147483648",
    b"4294967296",
    b"9" * 20,
    b"9" * 400,
    b"9" * 5000,
    b"-1",
    b"-" + b"9" * 30,
    b"1e9",
    b"1_0",
    b"0",
    b"",
]
_LINES = [
    b"ERROR",
    b"CLIENT_ERROR bad data chunk",
    b"SERVER_ERROR out of memory storing object",
    b"SERVER_ERROR object too large for cache",
    b"SERVER_ERROR",
    b"EN",
    b"NF",
    b"HD",
    b"HD t-1",
    b"HD s2147483648",
    b"EX",
    b"NS",
    b"MN",
    b"HD O0",
    b"NF O0",
    b"VA 0 t1",
    b"VA 2147483648 t1 c1",
    b"STORED",
    b"NOT_STORED",
    b"EXISTS",
    b"NOT_FOUND",
    b"END",
    b"",
]
_VALUES: list[Any] = [
    None,
    True,
    0,
    -1,
    1.5,
    10**18,
    10**30,
    "",
    "x",
    "\u2028\n",
    [],
    [1],
    {},
    {"k": {}},
    [[[]]],
]


class Mutation(NamedTuple):
    """A way to spoil a reply."""

    mutate: Mutate
    # Whether a server could have meant it: then the answer may be wrong, though not of a wrong kind.
    # Otherwise there is no whole reply to what was asked, and the answer is right or an error.
    lies: bool
    endless: bool = False


# --------------------------------------------------------------------------- what is no reply at all


def _noise(exchange: Exchange, dice: random.Random) -> Iterator[bytes | None]:
    yield dice.randbytes(dice.choice([1, len(exchange.reply), 5_000]))


def _truncated(exchange: Exchange, dice: random.Random) -> Iterator[bytes | None]:
    yield exchange.reply[: dice.randrange(len(exchange.reply))]


def _truncated_and_closed(exchange: Exchange, dice: random.Random) -> Iterator[bytes | None]:
    yield exchange.reply[: dice.randrange(len(exchange.reply))]
    yield None


def _missing(_exchange: Exchange, _dice: random.Random) -> Iterator[bytes | None]:
    yield from ()


def _after_the_next(exchange: Exchange, _dice: random.Random) -> Iterator[bytes | None]:
    """Where two packets are on their way, their replies come in the wrong order; else it does not come."""
    exchange.held.append(exchange.reply)
    yield from ()


def _twice(exchange: Exchange, _dice: random.Random) -> Iterator[bytes | None]:
    yield exchange.reply * 2


def _stale(exchange: Exchange, dice: random.Random) -> Iterator[bytes | None]:
    """A reply to an earlier request, as if replies had come into a wrong order."""
    yield dice.choice(exchange.earlier or [b""])


def _late(exchange: Exchange, dice: random.Random) -> Iterator[bytes | None]:
    """After a reply to an earlier request."""
    yield dice.choice(exchange.earlier or [b"EN\r\n"]) + exchange.reply


def _dripping(exchange: Exchange, _dice: random.Random) -> Iterator[bytes | None]:
    """So slowly that it is never there in time."""
    for byte in exchange.reply:
        yield bytes([byte])
        time.sleep(0.02)


def _endless(unit: Callable[[Exchange, random.Random], bytes]) -> Mutate:
    def mutate(exchange: Exchange, dice: random.Random) -> Iterator[bytes | None]:
        block = unit(exchange, dice)
        block *= _BLOCK // len(block) + 1
        while True:
            yield block

    return mutate


def _huge_value(exchange: Exchange, dice: random.Random) -> Iterator[bytes | None]:
    """A value of more than 2 GB is announced, and begins to come."""
    heads = list(re.finditer(rb"(?:^|(?<=\r\n))VA (\d+)", exchange.reply))
    head = dice.choice(heads) if heads else None
    yield exchange.reply[: head.start()] if head else b""
    yield b"VA %d t100 c1\r\n" % dice.choice([2**31, 2**32, 2**63, 10**30])
    while True:
        yield b"x" * _BLOCK


# --------------------------------------------------------------------------------- what could be a lie


def _parts(exchange: Exchange) -> tuple[bytes, bytes]:
    """The reply without its fence, and the fence: a reply that ends as it should is looked at."""
    return exchange.reply[: len(exchange.reply) - len(exchange.fence)], exchange.fence


def _bytes_changed(exchange: Exchange, dice: random.Random) -> Iterator[bytes | None]:
    reply = bytearray(exchange.reply)
    for _ in range(dice.randint(1, 4)):
        at = dice.randrange(len(reply))
        what = dice.randrange(4)
        if what == 0:
            reply[at] ^= 1 << dice.randrange(8)
        elif what == 1:
            reply[at] = dice.randrange(256)
        elif what == 2:
            reply[at:at] = dice.randbytes(dice.randint(1, 4))
        elif len(reply) > 1:
            del reply[at]
    yield bytes(reply)


def _pieces_mixed(exchange: Exchange, dice: random.Random) -> Iterator[bytes | None]:
    """A piece of another reply in the middle of this one."""
    body, fence = _parts(exchange)
    other = dice.choice([*exchange.earlier, exchange.reply])
    start, end = sorted(dice.randrange(len(other) + 1) for _ in range(2))
    at = dice.randrange(len(body) + 1)
    yield body[:at] + other[start:end] + body[at + dice.choice([0, end - start]) :] + fence


def _of_another_request(exchange: Exchange, dice: random.Random) -> Iterator[bytes | None]:
    """A whole reply to something else, with the right ending."""
    other = dice.choice(exchange.earlier or [exchange.reply])
    yield re.sub(rb"NF O\d+\r\n\Z", b"", other) + exchange.fence


def _lines_changed(exchange: Exchange, dice: random.Random) -> Iterator[bytes | None]:
    body, fence = _parts(exchange)
    lines = body.split(b"\r\n")[:-1] or [b""]
    for _ in range(dice.choice([1, 1, 1, 2, 3])):
        at = dice.randrange(len(lines) or 1)
        what = dice.randrange(5)
        if what == 0:
            lines[at:at] = [dice.choice(_LINES)]
        elif what == 1:
            lines[at : at + 1] = [dice.choice(_LINES)]
        elif what == 2:
            lines[at : at + 1] = []
        elif what == 3:
            lines[at:at] = lines[at : at + 1]
        else:
            dice.shuffle(lines)
    yield b"".join(line + b"\r\n" for line in lines) + fence


def _numbers_changed(exchange: Exchange, dice: random.Random) -> Iterator[bytes | None]:
    body, fence = _parts(exchange)
    numbers = list(re.finditer(rb"\d+", body))
    if numbers:
        number = dice.choice(numbers)
        body = body[: number.start()] + dice.choice(_NUMBERS) + body[number.end() :]
    yield _with_lengths(body) + fence if dice.random() < 0.5 else body + fence


def _values_changed(exchange: Exchange, dice: random.Random) -> Iterator[bytes | None]:
    """Values that are announced as long as they are: sessions of another form, and anything else."""
    body, fence = _parts(exchange)
    lines = body.split(b"\r\n")
    values = [at + 1 for at, line in enumerate(lines[:-1]) if line.startswith(b"VA ")]
    for at in dice.sample(values, min(len(values), dice.randint(1, 2))):
        lines[at] = _another_value(lines[at], dice)
    yield _with_lengths(b"\r\n".join(lines)) + fence


def _another_value(value: bytes, dice: random.Random) -> bytes:
    try:
        fields = json.loads(value)
    except ValueError:
        fields = None
    if not isinstance(fields, list) or dice.random() < 0.1:
        start = dice.randrange(len(value) + 1)
        return value[:start] + dice.choice([b"", b"x", b"-1", b"\xff", b"9" * 5000, value, b"\n", b" 1"])
    at = dice.randrange(len(fields) + 1)
    what = dice.randrange(8)
    if what == 0:
        fields[at:at] = [dice.choice(_VALUES)]
    elif what == 1:
        del fields[at:]
    else:
        fields[at : at + 1] = [dice.choice(_VALUES)]
    return json.dumps(fields).encode()


def _with_lengths(body: bytes) -> bytes:
    """The same, each value announced as long as it is."""
    lines = body.split(b"\r\n")
    for at, line in enumerate(lines[:-1]):
        if line.startswith(b"VA "):
            lines[at] = re.sub(rb"\AVA \S*", b"VA %d" % len(lines[at + 1]), line)
    return b"\r\n".join(lines)


MUTATIONS = {
    "noise": Mutation(_noise, lies=False),
    "truncated": Mutation(_truncated, lies=False),
    "truncated and closed": Mutation(_truncated_and_closed, lies=False),
    "missing": Mutation(_missing, lies=False),
    "after the next one": Mutation(_after_the_next, lies=False),
    "twice": Mutation(_twice, lies=False),
    "an earlier one": Mutation(_stale, lies=False),
    "after an earlier one": Mutation(_late, lies=False),
    "dripping": Mutation(_dripping, lies=False),
    "an endless line": Mutation(
        _endless(lambda _, dice: dice.choice([b"x", b"[1,"])), lies=False, endless=True
    ),
    "endless lines": Mutation(
        _endless(lambda _, dice: dice.choice(_LINES) + b"\r\n"), lies=False, endless=True
    ),
    "endless replies": Mutation(
        _endless(lambda exchange, _: _parts(exchange)[0] or b"NF\r\n"), lies=False, endless=True
    ),
    "a huge value": Mutation(_huge_value, lies=False, endless=True),
    "bytes changed": Mutation(_bytes_changed, lies=True),
    "pieces mixed": Mutation(_pieces_mixed, lies=True),
    "of another request": Mutation(_of_another_request, lies=True),
    "lines changed": Mutation(_lines_changed, lies=True),
    "numbers changed": Mutation(_numbers_changed, lies=True),
    "values changed": Mutation(_values_changed, lies=True),
}
