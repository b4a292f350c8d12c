#!/usr/bin/env python3
"""Chunks that nothing names: fsck counts them, the sweep takes them, and one that it left is found."""

import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from leo import *

PUTCHUNK = os.path.join(BUILD, "tests", "lib", "putchunk")
DAYS = 2 * 24 * 3600  # older than anybody could commit
SHARDS = (1, 3)


def sets(period, grace="1s"):
    return ["--set", f"orphans.period={period}", "--set", f"orphans.grace={grace}"]


def put(server, shard, age, size):
    run(PUTCHUNK, server.rpc, shard, int(time.time()) - age, size)


def fsck(server):
    r = json.loads(server.adm("--json", "fsck", check=False).stdout)
    return r, (r["counts"]["unnamed"], r["counts"]["unnamed_bytes"])


def counted(server):
    """Old enough for the sweep, which has not come yet: no finding."""
    for shard in SHARDS:
        put(server, shard, DAYS, 10000 + shard)
    r, unnamed = fsck(server)
    eq((r["state"], r["findings"]), ("clean", []), "before any sweep")
    eq(unnamed, (2, 20000 + sum(SHARDS)), "chunks that nothing names")
    text = server.adm("fsck").stdout
    assert "chunks without name: 2\n" in text, text


def off_line(server):
    """The same on what a dead server left."""
    server.kill()
    p = run(LEOFS, "fsck", "--data", server.data, *sets("1h"))
    assert re.search(r"^chunks that nothing names +2$", p.stdout, re.M), p.stdout


def swept(server):
    """Named ones stay, the others go."""
    server.extra = sets("20s")  # the first after 2 s
    server.start()
    eq(server.s3().get("/unn/large").body, LARGE, "what has a name")
    wait_for("the sweep", lambda: fsck(server)[1] == (0, 0), 30)
    eq(server.s3().get("/unn/large").body, LARGE, "what has a name")


def left(server):
    """What a sweep must have seen is a finding."""
    put(server, SHARDS[1], DAYS, 7000)
    r, unnamed = fsck(server)
    eq((r["state"], r["n_findings"], unnamed), ("findings", 1, (1, 7000)), "result")
    assert "1 chunks, 7000 bytes" in r["findings"][0], r["findings"]
    eq(server.adm("fsck", check=False).returncode, 1, "exit status")


def gone(server):
    """With the next sweep; and those that are young are nobody's business yet."""
    server.extra = sets("1s", grace="1h")
    server.restart()
    put(server, SHARDS[0], 0, 5000)
    wait_for("the sweep", lambda: fsck(server)[1] == (0, 0), 30)
    eq(fsck(server)[0]["state"], "clean", "state")


LARGE = os.urandom(6 << 20)


def main():
    tap = Tap()
    server = Server(extra=sets("1h"))
    s3 = server.s3()
    eq(s3.put("/unn").status, 200, "the bucket")
    eq(s3.put("/unn/large", LARGE).status, 200, "PUT")
    for test in (counted, off_line, swept, left, gone):
        tap.run(test.__name__, test, server)
    server.stop()
    tap.end()


main()
