#!/usr/bin/env python3
"""Compaction: gives space back, by command and by itself; under load, and through kill -9."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from leo import *

MIB = 1 << 20
SETS = {
    "segment.size": "8MiB",
    "reader.lease": "1s",
    "compaction.rate": "0",
    "compaction.threshold": "0",  # not by itself
    # what a crash brought back, and what a dead client left
    "opens.grace": "1s",
    "session.lease": "2s",
    "orphans.period": "1s",
    "orphans.grace": "1s",
}


def sets(**over):
    out = []
    for name, value in {**SETS, **{k.replace("__", "."): v for k, v in over.items()}}.items():
        out += ["--set", f"{name}={value}"]
    return out


def body(key, size):
    return random.Random(key).randbytes(size)


def status(server):
    answer = server.adm_json("compact-status")
    eq(len(answer["stores"]), 1, "stores")
    return answer["stores"][0]


def bulk(server):
    return [h for h in status(server)["heads"] if h["head"] == "bulk"][0]


def idle(server, seconds=60):
    return wait_for("the end of the compaction", lambda: (s := status(server))["state"] == "idling" and s, seconds)


class Facts:
    """What was stored, under which key; all of it must be there."""

    def __init__(self, server):
        self.server = server
        self.keys = {}

    def put(self, key, size):
        eq(self.server.s3().put(f"/com/{key}", body(key, size)).status, 200, "PUT")
        self.keys[key] = size

    def delete(self, key):
        eq(self.server.s3().delete(f"/com/{key}").status, 204, "DELETE")
        del self.keys[key]

    def check(self):
        s3 = self.server.s3()
        for key, size in self.keys.items():
            r = s3.get(f"/com/{key}")
            eq(r.status, 200, key)
            assert r.body == body(key, size), f"{key} is not what was stored"
        eq(len(s3.list("com")), len(self.keys), "keys")


def settle(server, facts):
    """Until there are no chunks but those of the facts."""
    want = sum(size for size in facts.keys.values() if size > 65536)
    wait_for("chunks to go", lambda: bulk(server)["bytes_live"] < want + MIB, 90)


def no_run_yet(server, facts):
    s = status(server)
    eq((s["state"], s["reason"], s["started"], s["targets"]), ("idling", "", 0, 0), "state")
    text = server.adm("compact-status").stdout
    for label in ("current status: idling", "last compaction start: ____-__-__ __:__:__",
                  "total targets: 0", "# of pending targets: 0", "# of ongoing targets: 0",
                  "# of out of targets: 0"):
        assert label in text, text
    eq(server.adm("compact-start", "xyz", check=False).returncode, 1, "no such store")
    eq(server.adm("compact-start", "all", "0", check=False).returncode, 2, "usage")
    for procs in ("0", "x", "-1", ""):
        eq(server.adm("compact-start", s["host"], "all", procs, check=False).returncode, 2, "usage")
    eq(server.adm("compact-start", s["host"], "all", "3", "4", check=False).returncode, 2, "usage")


def by_command(server, facts):
    """Two of three go; their space does as well, and nothing else."""
    for i in range(12):
        facts.put(f"cmd{i}", 3 * MIB + i)
    before = bulk(server)
    assert before["bytes_live"] > 12 * 3 * MIB and before["bytes_total"] >= before["bytes_live"], before
    for i in range(12):
        if i % 3:
            facts.delete(f"cmd{i}")
    wait_for("chunks to go", lambda: bulk(server)["bytes_live"] < 13 * MIB, 60)
    eq(server.adm("compact-start", "all", "1", "--wait").stdout, "OK\n", "one")
    s = status(server)
    eq((s["state"], s["targets"], s["out_of"], s["result"]), ("idling", 1, 1, "ok"), "one")
    eq(server.adm("compact-start").stdout, "OK\n", "started")
    server.adm("compact-start", s["store"][:8], "all")  # not an error
    # with the third argument of the original
    eq(server.adm("compact-start", s["host"], "all", "3", "--wait").stdout, "OK\n", "waited")
    s = status(server)
    eq((s["state"], s["reason"], s["pending"], s["ongoing"], s["kept"]),
       ("idling", "command", 0, 0, 0), "the run")
    assert s["ended"] >= s["started"] > 0 and s["bytes_freed"] > 15 * MIB, s
    after = bulk(server)
    # all that is left beside what is alive: the segment that is written
    assert after["bytes_total"] < after["bytes_live"] + 20 * MIB, after
    facts.check()
    server.fsck()
    server.restart()
    facts.check()


def cron(server):
    """The line of dist/leofs.cron, for this server."""
    with open(os.path.join(TOP, "dist", "leofs.cron")) as f:
        lines = [line.strip() for line in f if line[:1].isdigit()]
    eq(len(lines), 1, "commands")
    command = lines[0].split(None, 6)[6]
    assert command.startswith("leofs-adm --data /var/lib/leofs "), command
    command = command.replace("/var/lib/leofs", server.data)
    path = f"{os.path.dirname(ADM)}:{os.environ['PATH']}"
    return run("/bin/sh", "-c", command, check=False, env=dict(os.environ, PATH=path))


def cron_leaves_it(server):
    """What somebody holds is not resumed at night, but by the one who holds it."""
    p = cron(server)
    eq((p.returncode, p.stdout), (1, ""), "exit of cron's command")
    eq(p.stderr.count("\n"), 1, "one sentence")
    assert "compaction is suspended, compact-resume goes on with it" in p.stderr, p.stderr
    p = server.adm("compact-start", "all", "1", check=False)
    eq((p.returncode, p.stdout), (1, ""), "exit of compact-start")


def by_cron(server, facts):
    """At night: gives space back, waits for that, says nothing."""
    for i in range(8):
        facts.put(f"cron{i}", 3 * MIB + i)
    for i in range(7):
        facts.delete(f"cron{i}")
    settle(server, facts)
    before = bulk(server)
    p = cron(server)
    eq((p.returncode, p.stdout, p.stderr), (0, "", ""), "cron's command")
    s = status(server)
    eq((s["state"], s["reason"], s["result"]), ("idling", "command", "ok"), "the run")
    assert bulk(server)["bytes_total"] < before["bytes_total"] - 12 * MIB, (before, bulk(server))
    server.adm("compact-suspend")
    cron_leaves_it(server)
    eq(status(server)["started"], s["started"], "no run began")
    server.adm("compact-resume")
    eq(cron(server).returncode, 0, "after compact-resume")
    facts.check()


def under_load(server, facts):
    """Clients notice nothing of it; held, it does nothing."""
    server.kill()
    server.extra = sets(compaction__rate="2MiB")
    server.start()
    for i in range(16):
        facts.put(f"load{i}", 2 * MIB + i)
    for i in range(16):
        if i % 2:
            facts.delete(f"load{i}")
    live = bulk(server)["bytes_live"]
    wait_for("chunks to go", lambda: bulk(server)["bytes_live"] < live - 15 * MIB, 60)
    stop, errors, slowest, done = threading.Event(), [], [0.0], [0]

    def load(n):
        s3, mine = server.s3(), {}
        rnd = random.Random(n)
        try:
            while not stop.is_set():
                key = f"l{n}-{rnd.randrange(6)}"
                start = time.monotonic()
                if key in mine and rnd.random() < 0.6:
                    r = s3.get(f"/com/{key}")
                    assert r.status == 200 and r.body == body(*mine[key]), (key, r.status)
                elif rnd.random() < 0.2:
                    eq(s3.delete(f"/com/{key}").status, 204, "DELETE")
                    mine.pop(key, None)
                else:
                    size = rnd.choice((100, 30000, MIB, 5 * MIB))
                    what = f"{key}.{rnd.random()}", size
                    eq(s3.put(f"/com/{key}", body(*what)).status, 200, "PUT")
                    mine[key] = what
                slowest[0] = max(slowest[0], time.monotonic() - start)
                done[0] += 1
            for key in mine:
                eq(s3.delete(f"/com/{key}").status, 204, "DELETE")
        except Exception as err:
            errors.append(err)

    def old():
        s3 = server.s3()
        try:
            while not stop.is_set():
                for key, size in list(facts.keys.items()):
                    r = s3.get(f"/com/{key}")
                    assert r.status == 200 and r.body == body(key, size), (key, r.status)
        except Exception as err:
            errors.append(err)

    threads = [threading.Thread(target=load, args=(n,)) for n in range(3)]
    threads.append(threading.Thread(target=old))
    for t in threads:
        t.start()
    server.adm("compact-start")
    wait_for("something copied", lambda: status(server)["bytes_copied"] > 0, 60)
    server.adm("compact-suspend")
    time.sleep(0.5)
    s = status(server)
    eq(s["state"], "suspending", "state")
    time.sleep(1)
    cron_leaves_it(server)
    now = status(server)
    eq((now["state"], now["bytes_copied"]), ("suspending", s["bytes_copied"]), "nothing while it is held")
    server.adm("compact-resume")
    s = idle(server, 120)
    stop.set()
    for t in threads:
        t.join()
    assert not errors, errors
    print(f"# {done[0]} requests, the slowest took {slowest[0]:.2f} s; {s}")
    assert s["bytes_freed"] > 8 * MIB, s
    facts.check()


def killed(server, facts):
    """kill -9 wherever it is; the next run finds what is left."""
    server.kill()
    server.extra = sets(compaction__rate="8MiB")
    server.start()
    for i in range(16):
        facts.put(f"kill{i}", 2 * MIB + i)
    for i in range(16):
        if i % 4 != 1:
            facts.delete(f"kill{i}")
    rnd = random.Random(seed)
    for turn in range(3):
        server.adm("compact-start")
        facts.put(f"turn{turn}", 3 * MIB + turn)
        time.sleep(rnd.random())
        server.kill()
        server.fsck()
        server.start()
        facts.check()
    settle(server, facts)
    server.adm("compact-start", "--wait")
    facts.check()
    after = bulk(server)
    # 90 percent alive are not worth it; the segment that is written
    assert after["bytes_total"] < after["bytes_live"] / 0.9 + 20 * MIB, after


def orphans(server, facts):
    """Chunks of a client that died before its commit go when its session is over."""
    before = bulk(server)["bytes_live"]
    s3 = server.s3()
    headers = {}
    s3.sign("PUT", "/com/never", [], headers, "UNSIGNED-PAYLOAD")
    conn = http.client.HTTPConnection(s3.host, s3.port, timeout=60 * SLOW)
    conn.putrequest("PUT", "/com/never", skip_host=True, skip_accept_encoding=True)
    for name, value in {**headers, "content-length": str(40 * MIB)}.items():
        conn.putheader(name, value)
    conn.endheaders()
    conn.send(body("never", 20 * MIB))
    wait_for("its chunks", lambda: bulk(server)["bytes_live"] > before + 8 * MIB, 60)
    server.kill()
    conn.close()
    server.start()
    settle(server, facts)
    facts.check()


def by_itself(server, facts):
    server.kill()
    server.extra = sets(compaction__threshold="60", compaction__min_dead="16MiB")
    server.start()
    for i in range(12):
        facts.put(f"self{i}", 3 * MIB + i)
    total = bulk(server)["bytes_total"]
    for key in list(facts.keys):
        if not key.startswith("turn"):
            facts.delete(key)
    wait_for("space to come back", lambda: bulk(server)["bytes_total"] < total - 20 * MIB, 90)
    s = idle(server)
    assert s["reason"] in ("dead bytes", "shortage of space"), s
    facts.check()


seed = seed_from_argv()


def main():
    tap = Tap()
    server = Server(extra=sets())
    eq(server.s3().put("/com").status, 200, "the bucket")
    facts = Facts(server)
    for test in (no_run_yet, by_command, by_cron, under_load, killed, orphans, by_itself):
        tap.run(test.__name__, test, server, facts)
    server.stop()
    tap.end()


main()
