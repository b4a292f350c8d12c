#!/usr/bin/env python3
"""Live and dead bytes: what du, /metrics and compact-status say, while objects come and go."""

import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from leo import *

MIB = 1 << 20
NAME = "leofs_store_segment_bytes"
SETS = {"segment.size": "8MiB", "reader.lease": "1s", "compaction.rate": "0", "compaction.threshold": "0"}


def metrics(server):
    """(head, state) -> bytes, of the one store."""
    text = server.metrics()
    found = re.findall(rf'^{NAME}\{{store="([0-9a-f]{{32}})",head="(\w+)",state="(\w+)"\}} (\d+)$', text, re.M)
    assert not found or len({f[0] for f in found}) == 1, found
    if found:
        eq(text.count(f"# TYPE {NAME} gauge\n"), 1, "one head line")
    return {(head, state): int(n) for _, head, state, n in found}


def du(server):
    """The same of the command."""
    out = {}
    for line in server.adm("du").stdout.splitlines():
        f = line.split()
        if f and f[0] in ("log", "bulk"):
            out[f[0], "live"], out[f[0], "dead"] = int(f[3]), int(f[4])
            eq(int(f[2]), int(f[3]) + int(f[4]), "total")
    return out


def agree(server, seconds=30):
    """When nothing changes, heartbeats come to say what the store says."""
    return wait_for("heartbeats", lambda: (m := metrics(server)) == du(server) and m, seconds)


def grow_and_shrink(server):
    s3 = server.s3()
    eq(sorted(agree(server)), [("bulk", "dead"), ("bulk", "live"), ("log", "dead"), ("log", "live")], "series")
    for i in range(32):
        eq(s3.put(f"/spc/{i}", os.urandom(MIB)).status, 200, "PUT")
    before = agree(server)
    assert before["bulk", "live"] >= 32 * MIB, before
    for i in range(32):
        if i % 4:  # something of each segment stays
            eq(s3.delete(f"/spc/{i}").status, 204, "DELETE")
    wait_for("chunks to go", lambda: du(server)["bulk", "live"] <= before["bulk", "live"] - 24 * MIB)
    now = agree(server)
    assert now["bulk", "dead"] >= before["bulk", "dead"] + 24 * MIB, (before, now)
    server.adm("compact-start", "--wait")
    after = agree(server)
    assert after["bulk", "dead"] < now["bulk", "dead"] - 12 * MIB, (now, after)
    assert after["bulk", "live"] >= 8 * MIB, after
    heads = {h["head"]: h for h in server.adm_json("compact-status")["stores"][0]["heads"]}
    for head in ("log", "bulk"):
        eq((heads[head]["bytes_live"], heads[head]["bytes_dead"]), (after[head, "live"], after[head, "dead"]), head)


def of_a_bucket(server):
    text = server.adm("du", "spc").stdout
    assert re.search(rf"^ *bytes: {8 * MIB}$", text, re.M), text


def of_daemons(server):
    """What a store says goes over its socket."""
    wait_for("the store", lambda: server.adm("du", check=False).returncode == 0)
    assert agree(server)["log", "dead"] > 0, metrics(server)


def main():
    tap = Tap()
    server = Server(extra=[a for k, v in SETS.items() for a in ("--set", f"{k}={v}")])
    eq(server.s3().put("/spc").status, 200, "the bucket")
    for test in (grow_and_shrink, of_a_bucket):
        tap.run(test.__name__, test, server)
    server.stop()
    server = Server(shape="daemons")
    tap.run("of daemons", of_daemons, server)
    server.stop()
    tap.end()


main()
