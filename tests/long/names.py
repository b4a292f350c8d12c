#!/usr/bin/env python3
"""More names in one directory than stay in one shard by default, made through both doors, with kill -9 amid it: it is
split, LIST and readdir have each name once, in order, and fsck is clean.

    tests/long/names.py [--seed N]; LEO_NAMES: how many names
"""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import bulk
from leo import *

NAMES = int(os.environ.get("LEO_NAMES", "1250000"))
DEFAULT = 1000000  # dir_split_names
SPLIT_AT = 0 if NAMES > 1.2 * DEFAULT else NAMES * 4 // 5
BUCKET = "names"
SIZE = 20

# creates files, exclusively, whatever happens to the server: FROM TO STEP
MAKER = """
import os, sys
top, first, last, step = sys.argv[1], *map(int, sys.argv[2:5])
for n in range(first, last, step):
    os.close(os.open(f"{top}/{n:07d}.m", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
print(len(range(first, last, step)))
"""


def name(n):
    """The n-th: one in five is made through the mount."""
    return f"{n:07d}.m" if n % 5 == 4 else f"{n:07d}"


def start_all(server, mount, first, last):
    """Four in five by two loaders for S3, one by the mount."""
    base = [sys.executable, os.path.join(TOP, "tests", "lib", "bulk.py"), server.port, BUCKET, "dir/{0:07d}"]
    cmds = [base + [first + i, last, 5, SIZE] for i in range(4)]
    cmds.append([sys.executable, "-c", MAKER, mount.path("dir"), first + 4, last, 5])
    return [subprocess.Popen([str(c) for c in cmd], env=server.env(), stdout=subprocess.PIPE, text=True) for cmd in cmds]


def both_doors(server, mount, rng):
    """Three kills while names are made, the last ones when most of them are there."""
    makers = start_all(server, mount, 0, NAMES)
    start, kills = time.monotonic(), 0
    while any(p.poll() is None for p in makers):
        if kills < 3 and server.adm_json("du", BUCKET)["files"] > NAMES * (kills + 2) // 5:
            server.kill()
            server.start()
            kills += 1
        time.sleep(1)
    done = [int(p.communicate()[0] or 0) for p in makers]
    eq(([p.returncode for p in makers], sum(done)), ([0] * 5, NAMES), "acknowledged")
    eq(kills, 3, "kills")
    print(f"# {NAMES} names in {time.monotonic() - start:.0f} s")


def split(server, rng):
    """Names have moved, and no more do. What is PUT over one has its inode where the name is now."""
    last = [None, 0]

    def at_rest():
        c = server.counts()
        c = (c.get("dir_splits"), c.get("dir_split_names"))
        if c != last[0]:
            last[:] = c, time.monotonic()
        return time.monotonic() - last[1] > 10

    wait_for("the end of splitting", at_rest, 600)
    s3, shards = server.s3(), {}
    for n in sorted(rng.sample(range(NAMES), 200)):
        body = b"" if n % 5 == 4 else bulk.value_of(f"dir/{name(n)}", SIZE)
        eq(s3.put(f"/{BUCKET}/dir/{name(n)}", body).status, 200, "PUT")
        shard = server.adm_json("whereis", f"{BUCKET}/dir/{name(n)}")["inode"] >> 47
        shards[shard] = shards.get(shard, 0) + 1
    print(f"# summary: names in {len(shards)} shards; of 200: {sorted(shards.values())}")
    assert len(shards) > 1, "nothing moved"


def everything(server, mount, rng):
    want = [name(n) for n in range(NAMES)]
    start = time.monotonic()
    listed = keys_of(server)
    took = time.monotonic() - start
    eq(len(listed), NAMES, "LIST")
    assert listed == [f"dir/{n}".encode() for n in sorted(want)], "LIST in order"
    start = time.monotonic()
    got = os.listdir(mount.path("dir"))
    print(f"# LIST {took:.1f} s, readdir {time.monotonic() - start:.1f} s")
    eq(len(got), NAMES, "readdir")
    assert sorted(got) == sorted(want), "readdir"
    s3 = server.s3()
    for n in rng.sample(range(NAMES), min(1000, NAMES)):
        body = b"" if n % 5 == 4 else bulk.value_of(f"dir/{name(n)}", SIZE)
        r = s3.get(f"/{BUCKET}/dir/{name(n)}")
        eq((r.status, r.body), (200, body), f"GET {name(n)}")
        with open(mount.path("dir", name(n)), "rb") as f:
            eq(f.read(), body, f"read {name(n)}")


def keys_of(server):
    s3, out, after = server.s3(), [], "dir/"
    while True:
        r = s3.request("GET", f"/{BUCKET}", query=[("list-type", "2"), ("start-after", after)])
        eq(r.status, 200, "LIST")
        keys = re.findall(rb"<Key>([^<]*)</Key>", r.body)
        if not keys:
            return out
        out += keys
        after = keys[-1].decode()


def killed(server, mount, rng):
    server.kill()
    server.fsck()
    server.start()
    everything(server, mount, rng)


def main():
    rng = random.Random(seed_from_argv())
    t = Tap()
    server = Server(split=SPLIT_AT)
    eq(server.s3().put(f"/{BUCKET}").status, 200, "bucket")
    mount = t.mount(server, f"/{BUCKET}")
    os.mkdir(mount.path("dir"))
    t.run(f"{NAMES} names through both doors, killed amid it", both_doors, server, mount, rng)
    t.run("it is split", split, server, rng)
    t.run("LIST and readdir", everything, server, mount, rng)
    t.run("after kill -9 and fsck", killed, server, mount, rng)
    mount.umount()
    print(f"# summary: {NAMES} names")
    t.end()


main()
