"""The mixed load in greenlets that are killed, or run out of time, in the middle of calls.

python -m gevent.monkey --module tests.support.greenlets SERVERS NAMESPACE SECONDS
"""

from __future__ import annotations

import gc
import json
import random
import sys
import time
from typing import Any

import gevent
import gevent.monkey

from memsessions import SessionsClient
from memsessions.store.connection import Connection

from .load import Worker

_WORKERS = 5


def main(servers: str, ns: str, duration_s: float) -> None:
    assert gevent.monkey.is_module_patched("socket")
    dice = random.Random(11)
    options: dict[str, Any] = {"servers": servers.split(","), "ns": ns, "timeout": 5}
    rs = SessionsClient(**options, wipe=10)
    cached = SessionsClient(**options, wipe=0, cachetime=1, cachemax=20)
    workers = [Worker(number, rs, cached, number) for number in range(_WORKERS)]
    for worker in workers:
        worker.open_clients_by(lambda: SessionsClient(**options, wipe=10))
    killed = out_of_time = 0

    def work(worker: Worker) -> None:
        nonlocal out_of_time
        while True:
            # Its own time limit, which comes out of the call as it is.
            with gevent.Timeout(dice.uniform(1e-4, 5e-3), False):
                while True:
                    worker.step()
            out_of_time += 1

    ends = time.monotonic() + duration_s
    while time.monotonic() < ends:
        running = [gevent.spawn(work, worker) for worker in workers]
        for greenlet in dice.sample(running, len(running)):
            gevent.sleep(dice.uniform(0, 0.01))
            greenlet.kill()
            killed += 1
            if not isinstance(greenlet.value, gevent.GreenletExit):
                raise RuntimeError("a greenlet ended by itself") from greenlet.exception
    # Nothing that was interrupted is in the way of what comes then.
    for worker in workers:
        for _ in range(50):
            worker.step()
    for client in (rs, cached):
        client.quit()
    del client, rs, cached, worker
    figures = {
        "calls": sum(worker.calls.total() for worker in workers),
        "killed": killed,
        "out of time": out_of_time,
        "unavailable": sum(worker.unavailable for worker in workers),
        "violations": [violation for worker in workers for violation in worker.violations],
    }
    del workers, running, greenlet
    gevent.sleep(0.1)
    gc.collect()
    figures["connections left"] = sum(isinstance(thing, Connection) for thing in gc.get_objects())
    print(json.dumps(figures))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
