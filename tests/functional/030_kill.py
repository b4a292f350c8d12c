#!/usr/bin/env python3
"""kill -9 at random instants under load from both doors: every acknowledged
write is there afterwards, none is half visible, and what all clients saw,
before, during and after, is one order of all operations. Every other round has
its directories on several shards, and their names in one that is split."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import history
import load
from leo import *

ROUNDS = int(os.environ.get("LEO_KILLS", "20"))


SPREAD_ON = {"spread": 1, "split": 64}
SPREAD_OFF = {"spread": 0, "split": 0}


def spread_of(i):
    return SPREAD_ON if i % 2 else SPREAD_OFF


def rounds(rng, server, n, kill):
    """kill(i): in round i, and starts what serves the next one; says what it was."""
    s3 = server.s3()
    eq(s3.put(f"/{load.BUCKET}").status, 200, "bucket")
    for i in range(2 * SPREAD_ON["split"]):
        eq(s3.put(f"/{load.BUCKET}/wide/{i * 7919 % 1000:03d}").status, 200, "PUT")
    mount = Mount.if_any(server)
    acked = ops = 0
    for i in range(n):
        work = load.Load(server, mount, f"wide/{i * 7919 % 1000:03d}." if i % 2 else f"r{i}/", rng.random())
        time.sleep(rng.uniform(0.2, 1.2))
        what = kill(i)
        time.sleep(rng.uniform(0.1, 0.4))
        work.stop()
        ops += work.check()
        acked += work.acked()
        print(f"# {i}: killed {what}; {acked} acknowledged, {ops} in histories, {work.unknown()} with no outcome", flush=True)
    assert acked > 4 * n, f"only {acked} writes were acknowledged"
    listed = server.s3().list(load.BUCKET)
    eq(listed, sorted(listed), "LIST in order")
    # the inode of a file lies with its name
    shards = {server.adm_json("whereis", f"{load.BUCKET}/{key.decode()}")["inode"] >> 47 for key in listed if key.startswith(b"wide/") and key.count(b"/") == 1}
    assert len(shards) > 1, "the names of wide/ lie in one shard"
    print(f"# summary: {n} kills, {acked} acknowledged writes, {ops} operations in histories, one directory in {len(shards)} shards")
    server.stop()


def kills(rng):
    server = Server(**spread_of(0))

    def kill(i):
        server.kill()
        if i % 4 == 3:
            server.fsck()
        server.spread, server.split = spread_of(i + 1).values()
        server.start()
        return "the server"

    rounds(rng, server, ROUNDS, kill)


def kill_daemons(rng):
    server = Server(shape="daemons", **SPREAD_ON)

    def kill(i):
        if i % 4 < 3:
            return server.kill_one(rng)
        server.kill()
        server.fsck()
        server.start()
        return "all of them"

    rounds(rng, server, max(ROUNDS // 5, 4), kill)


def main():
    seed = seed_from_argv()
    rng = random.Random(seed)
    t = Tap()
    t.run("the checker notices", history.self_test, seed)
    t.run(f"{ROUNDS} kills under load", kills, rng)
    t.run("kills of single daemons", kill_daemons, rng)
    t.end()


main()
