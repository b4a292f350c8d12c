#!/usr/bin/env python3
"""kill -9 at random instants under load from both doors: every acknowledged
write is there afterwards, none is half visible, and what all clients saw,
before, during and after, is one order of all operations."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import history
import load
from leo import *

ROUNDS = int(os.environ.get("LEO_KILLS", "20"))


def rounds(rng, server, n, kill):
    eq(server.s3().put(f"/{load.BUCKET}").status, 200, "bucket")
    mount = Mount.if_any(server)
    acked = ops = 0
    for i in range(n):
        work = load.Load(server, mount, f"r{i}/", rng.random())
        time.sleep(rng.uniform(0.2, 1.2))
        what = kill()
        time.sleep(rng.uniform(0.1, 0.4))
        work.stop()
        ops += work.check()
        acked += work.acked()
        print(f"# {i}: killed {what}; {acked} acknowledged, {ops} in histories, {work.unknown()} with no outcome", flush=True)
    assert acked > 4 * n, f"only {acked} writes were acknowledged"
    listed = server.s3().list(load.BUCKET)
    eq(listed, sorted(listed), "LIST in order")
    print(f"# summary: {n} kills, {acked} acknowledged writes, {ops} operations in histories")
    server.stop()


def kills(rng):
    server = Server()

    def kill():
        server.restart()
        return "the server"

    rounds(rng, server, ROUNDS, kill)


def kill_daemons(rng):
    server = Server(shape="daemons")
    rounds(rng, server, max(ROUNDS // 5, 2), lambda: server.kill_one(rng))


def main():
    seed = seed_from_argv()
    rng = random.Random(seed)
    t = Tap()
    t.run("the checker notices", history.self_test, seed)
    t.run(f"{ROUNDS} kills under load", kills, rng)
    t.run("kills of single daemons", kill_daemons, rng)
    t.end()


main()
