#!/usr/bin/env python3
"""How soon a server serves: on an empty store, and with 10^6 small objects after kill -9 and after a clean stop. The
time is that from exec to the first GET that is answered; all objects are there each time.

    tests/long/ready.py [--seed N]; LEO_NAMES: how many objects
"""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import bulk
from leo import *

NAMES = int(os.environ.get("LEO_NAMES", "1000000"))
SIZE = 300  # in the log: the rows hold up to 256 bytes
LOADERS = 2
LIMIT = 2.0  # seconds
BUCKET, FORM = "million", "{0:07d}"


def first_answer(server, path):
    """Starts it; seconds until it answers 200."""
    start = time.monotonic()
    server.start(wait=False)
    while True:
        try:
            s3 = server.s3()
            s3.once = True
            if s3.get(path).status == 200:
                return time.monotonic() - start
        except (OSError, ValueError, http.client.HTTPException):
            pass  # it does not listen, or has made no credentials yet
        if not server.procs[0].alive() or time.monotonic() > start + 60 * SLOW:
            raise AssertionError(f"no answer: {server.procs[0].tail()}")
        time.sleep(0.0005)


def empty(server, took):
    took["empty"] = first_answer(server, "/")
    server.wait_ready()


def fill(server, took):
    eq(server.s3().put(f"/{BUCKET}").status, 200, "bucket")
    start = time.monotonic()
    cmd = [sys.executable, os.path.join(TOP, "tests", "lib", "bulk.py"), server.port, BUCKET, FORM]
    loaders = [
        subprocess.Popen([str(c) for c in cmd + [i, NAMES, LOADERS, SIZE]], env=server.env(), stdout=subprocess.PIPE, text=True)
        for i in range(LOADERS)
    ]
    done = [int(p.communicate()[0] or 0) for p in loaders]
    eq(([p.returncode for p in loaders], sum(done)), ([0] * LOADERS, NAMES), "acknowledged")
    print(f"# {NAMES} objects in {time.monotonic() - start:.0f} s")


def everything(server, rng):
    """Each key once, in order; some are read."""
    s3, n, after, last = server.s3(), 0, None, b""
    while True:
        q = [("list-type", "2"), ("max-keys", "1000")]
        if after:
            q.append(("start-after", after))
        r = s3.request("GET", f"/{BUCKET}", query=q)
        eq(r.status, 200, "LIST")
        keys = re.findall(rb"<Key>([^<]*)</Key>", r.body)
        if not keys:
            break
        assert keys == sorted(set(keys)) and keys[0] > last, f"order behind {last}"
        n, last, after = n + len(keys), keys[-1], keys[-1].decode()
    eq(n, NAMES, "keys")
    for i in rng.sample(range(NAMES), min(1000, NAMES)):
        key = FORM.format(i)
        r = s3.get(f"/{BUCKET}/{key}")
        eq((r.status, r.body), (200, bulk.value_of(key, SIZE)), key)


def again(server, took, rng, what, end):
    end()
    took[what] = first_answer(server, f"/{BUCKET}/{FORM.format(rng.randrange(NAMES))}")
    everything(server, rng)
    assert took[what] <= LIMIT, f"{took[what]:.3f} s until the first GET"


def main():
    rng = random.Random(seed_from_argv())
    t = Tap()
    server, took = Server(start=False), {}
    t.run("an empty store", empty, server, took)
    t.run("filling it", fill, server, took)
    t.run("after kill -9", again, server, took, rng, "after kill -9", server.kill)
    t.run("after a clean stop", again, server, took, rng, "after a clean stop", lambda: server.procs[0].stop(60))
    t.run("after kill -9 at once", again, server, took, rng, "after kill -9 at once", server.kill)
    for what, seconds in took.items():
        print(f"# summary: {what}: {seconds * 1000:.0f} ms")
    print(f"# summary: {NAMES} objects")
    t.end()


main()
