#!/usr/bin/env python3
"""The log of small values stays bounded while a small set of keys is written over and over; what is stored stays."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from leo import *

MIB = 1 << 20
KEYS = 60
SIZE = 60_000  # in the log: below inline_max
ROUNDS = 24    # of all keys: 86 MB


def sets(**over):
    base = {"segment.size": "8MiB", "compaction.rate": "0", "compaction.threshold": "0", "reader.lease": "1s"}
    base.update({k.replace("__", "."): v for k, v in over.items()})
    out = []
    for name, value in base.items():
        out += ["--set", f"{name}={value}"]
    return out


def body(key, n):
    return random.Random(f"{key} {n}").randbytes(SIZE)


def status(server):
    stores = server.adm_json("compact-status")["stores"]
    eq(len(stores), 1, "stores")
    return stores[0]


def log_head(server):
    return [h for h in status(server)["heads"] if h["head"] == "log"][0]


def log_files(server):
    top = os.path.join(server.data, "store", "log")
    return sum(os.stat(os.path.join(top, f)).st_size for f in os.listdir(top))


def check(server, last):
    s3 = server.s3()
    for key, n in last.items():
        r = s3.get(f"/log/{key}")
        eq(r.status, 200, key)
        assert r.body == body(key, n), f"{key} is not what was stored"


def overwrite(server, last, rounds):
    s3 = server.s3()
    for n in rounds:
        for i in range(KEYS):
            eq(s3.put(f"/log/k{i}", body(f"k{i}", n)).status, 200, "PUT")
            last[f"k{i}"] = n


def clean(server):
    eq(server.adm("compact-start", "--wait").stdout, "OK\n", "compact-start")


def by_command(server, last):
    overwrite(server, last, range(ROUNDS))
    before = log_head(server)["bytes_total"]
    assert before > KEYS * SIZE * ROUNDS, before
    clean(server)
    clean(server)
    after = log_head(server)["bytes_total"]
    # the keys, copied at most once more, the segments of two checkpoints
    assert after < KEYS * SIZE * 2 + 4 * 8 * MIB, (before, after)
    assert log_files(server) < after + 3 * 8 * MIB, (log_files(server), after)
    check(server, last)
    server.fsck()


def through_kills(server, last):
    """What was copied, and what was freed, is right after any end."""
    for n in range(3):
        overwrite(server, last, range(100 + 3 * n, 103 + 3 * n))
        server.adm("compact-start")
        time.sleep(0.05 * n)  # not for something: the instants differ
        server.kill()
        server.start()
        check(server, last)
    clean(server)
    check(server, last)
    server.fsck()


def by_itself(server, last):
    """Much of the log is dead: the cleaner begins without a command, as it is set by default."""
    server.kill()
    # what was replaced is kept for that long after a start, for those who may have it open
    server.extra = sets(compaction__threshold="60", compaction__min_dead="16MiB", opens__grace="1s")
    server.start()
    s = status(server)
    eq((s["state"], s["started"]), ("idling", 0), "no run yet")
    overwrite(server, last, range(200, 200 + ROUNDS))
    # what it may leave: less dead than that, the keys, the segments of two checkpoints
    least = 16 * MIB + KEYS * SIZE * 2 + 4 * 8 * MIB
    wait_for("the log to become small", lambda: log_head(server)["bytes_total"] < least, 60)
    wait_for("the end of it", lambda: status(server)["state"] == "idling")
    s = status(server)
    eq((s["reason"], s["result"]), ("dead bytes", "ok"), "the run")
    assert s["bytes_freed"] > KEYS * SIZE * ROUNDS // 2, s
    print(f"# {s['bytes_freed'] // MIB} MiB were freed, {log_head(server)['bytes_total'] // MIB} MiB are left")
    check(server, last)
    server.kill()
    server.fsck()
    server.start()
    check(server, last)


def main():
    tap = Tap()
    server = Server(loops=3, extra=sets())
    eq(server.s3().put("/log").status, 200, "the bucket")
    last = {}
    for test in (by_command, through_kills, by_itself):
        tap.run(test.__name__, test, server, last)
    server.stop()
    tap.end()


main()
