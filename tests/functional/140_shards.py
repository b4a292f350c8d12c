#!/usr/bin/env python3
"""A tree whose directories lie in all shards: listings in order, names that move between
shards, kill -9 in the middle of moves, buckets that go."""

import errno
import os
import random
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from leo import *


def exchange(a, b):
    renameat2(a, b, RENAME_EXCHANGE)


def shard_of(server, bucket, key):
    return server.adm_json("whereis", f"{bucket}/{key}")["shard"]


def counted(server):
    """What a new store counts of commands over shards, by the names that the page of the admin API lists."""
    with open(os.path.join(TOP, "docs", "ADMIN_API.md")) as f:
        rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", f.read().split("leofs_store_NAME_total`)")[1], re.M)
    eq(wait_for("a heartbeat", server.counts), dict.fromkeys(re.findall(r"\w+", " ".join(rows)), 0), "in the beginning")
    s3 = server.s3()
    eq(s3.put("/counted").status, 200, "bucket")
    root = server.adm_json("get-buckets")["buckets"][0]["shard"]
    keys = [f"d{i}/k" for i in range(12)]
    for key in keys:
        eq(s3.put(f"/counted/{key}", key).status, 200, f"PUT {key}")
    away = [key for key in keys if shard_of(server, "counted", key) != root]
    assert away, "all in one shard"
    counts = wait_for("its next one", lambda: (c := server.counts())["far"] >= len(away) and c)
    eq({n: c for n, c in counts.items() if "snap" in n and c != 0}, {}, "of other members, which there are none of")
    assert "# TYPE leofs_store_far_total counter\n" in server.metrics(), server.metrics()
    for key in keys:
        eq(s3.delete(f"/counted/{key}").status, 204, f"DELETE {key}")
    eq(s3.delete("/counted").status, 204, "DELETE bucket")


def listings(server):
    s3 = server.s3()
    eq(s3.put("/tree").status, 200, "bucket")
    rng = random.Random(7)
    keys = set()
    for i in range(300):
        depth = rng.randint(1, 4)
        keys.add("/".join(rng.choice(["a", "b", "a-", "b!", "c0"]) + str(rng.randint(0, 3)) for _ in range(depth)))
    for key in keys:
        eq(s3.put(f"/tree/{key}", key).status, 200, f"PUT {key}")
    shards = {shard_of(server, "tree", key) for key in keys}
    assert len(shards) >= 4, f"spread over {shards}"
    want = sorted(k.encode() for k in keys)
    eq(s3.list("tree"), want, "LIST")
    eq(s3.list("tree", max_keys=7), want, "LIST in pages of 7")
    for prefix in ("a", "a0/", "b1/c0", "b!"):
        eq(s3.list("tree", prefix=prefix), [k for k in want if k.startswith(prefix.encode())], f"prefix {prefix}")
    for key in keys:
        eq(s3.get(f"/tree/{key}").body, key.encode(), f"GET {key}")
    for key in sorted(keys):
        eq(s3.delete(f"/tree/{key}").status, 204, f"DELETE {key}")
    eq(s3.list("tree"), [], "nothing is left, implicit directories neither")
    eq(s3.delete("/tree").status, 204, "DELETE bucket")


def dirs_in_shards(server, mount, bucket, n):
    """n directories in the bucket, in more than one shard."""
    names = [f"d{i}" for i in range(n)]
    for name in names:
        os.mkdir(mount.path(bucket, name))
    assert len({shard_of(server, bucket, name + "/") for name in names}) > 1, "all in one shard"
    return names


def moves(server, mount):
    server.s3().put("/moves")
    dirs = dirs_in_shards(server, mount, "moves", 12)
    p = lambda *parts: mount.path("moves", *parts)
    # a file through all of them; its inode stays what it is
    with open(p("f"), "w") as f:
        f.write("the file")
    ino, here = os.stat(p("f")).st_ino, "f"
    for d in dirs:
        os.rename(p(here), p(d, "f"))
        here = f"{d}/f"
        eq(os.stat(p(here)).st_ino, ino, "inode")
    eq(server.s3().get(f"/moves/{here}").body, b"the file", "GET under its last name")
    # hard links in all of them
    for d in dirs:
        os.link(p(here), p(d, "link"))
    eq(os.stat(p(here)).st_nlink, len(dirs) + 1, "links")
    with open(p(dirs[3], "link"), "a") as f:
        f.write(" grows")
    for d in dirs:
        with open(p(d, "link")) as f:
            eq(f.read(), "the file grows", f"through {d}")
        eq(server.s3().head(f"/moves/{d}/link").header("content-length"), "14", f"HEAD through {d}")
    sizes = dict(server.s3().list("moves", sizes=True))
    eq({sizes[f"{d}/link".encode()] for d in dirs}, {14}, "sizes in LIST")
    for d in dirs:
        os.unlink(p(d, "link"))
    eq(os.stat(p(here)).st_nlink, 1, "links")
    # replaced: the loser keeps its bytes while it is open
    with open(p(dirs[0], "old"), "w+") as old:
        old.write("still here")
        old.flush()
        os.rename(p(here), p(dirs[0], "old"))
        eq(os.fstat(old.fileno()).st_nlink, 0, "links of what was replaced")
        old.seek(0)
        eq(old.read(), "still here", "what was replaced")
    # directories below each other, and not below themselves
    top, below = dirs[1], f"{dirs[1]}/{dirs[2]}/{dirs[3]}"
    os.rename(p(dirs[3]), p(dirs[2], dirs[3]))
    os.rename(p(dirs[2]), p(dirs[1], dirs[2]))
    for old, new, err in ((top, f"{below}/x", errno.EINVAL), (dirs[0], top, errno.ENOTEMPTY)):
        try:
            os.rename(p(old), p(new))
            raise AssertionError(f"rename {old} {new}")
        except OSError as e:
            eq(e.errno, err, f"rename {old} {new}")
    with open(p(below, "g"), "w"):
        pass
    exchange(p(dirs[4]), p(below))
    eq((os.listdir(p(below)), os.listdir(p(dirs[4]))), ([], ["g"]), "exchanged")
    run("rm", "-r", *[p(d) for d in os.listdir(p())])
    eq(os.listdir(p()), [], "rm -r")


STORM = """
import os, sys, random
top, names, tag = sys.argv[1], sys.argv[2].split(","), sys.argv[3]
rng = random.Random(int(tag))
files = [f"{tag}-{i}" for i in range(8)]
where = {}
for f in files:
    where[f] = rng.choice(names)
    open(f"{top}/{where[f]}/{f}", "w").close()
print("ready", flush=True)
while True:
    f = rng.choice(files)
    to = rng.choice(names)
    what = rng.randrange(4)
    if what == 0:
        os.mkdir(f"{top}/{to}/m{tag}")
        os.rmdir(f"{top}/{to}/m{tag}")
    else:
        os.rename(f"{top}/{where[f]}/{f}", f"{top}/{to}/{f}")
        where[f] = to
"""


def places(mount, dirs):
    """The files of the storm, and the directories that each was seen in."""
    found = {}
    for d in dirs:
        for name in os.listdir(mount.path("storm", d)):
            if name[0] != "m":
                found.setdefault(name, []).append(d)
    return found


def settled(mount, dirs):
    """The last move of a killed child may still be under way: seen when two looks agree."""
    looks = [places(mount, dirs)]

    def same():
        looks.append(places(mount, dirs))
        return looks[-1] == looks[-2]

    wait_for("the end of the last moves", same, 30)
    return looks[-1]


def killed_moves(server, mount):
    """Names move between shards while the server dies: each is always in one place."""
    server.s3().put("/storm")
    dirs = dirs_in_shards(server, mount, "storm", 6)
    children = []
    for tag in range(3):
        c = subprocess.Popen(
            [sys.executable, "-c", STORM, mount.path("storm"), ",".join(dirs), str(tag)],
            stdout=subprocess.PIPE,
            text=True,
        )
        children.append(c)
        eq(c.stdout.readline(), "ready\n", "storm")
    try:
        for i in range(6):
            time.sleep(0.15 + 0.1 * (i % 3))  # load for a while: there is no condition to wait for
            server.kill()
            if i % 2:  # what was under way is ended, then both ends of each name agree
                p = run(LEOFS, "fsck", "--data", server.data, "--read", check=False)
                eq(p.returncode, 0, f"leofs fsck: {p.stdout} {p.stderr}")
                spans = re.search(r"ends of names that span shards +(\d+)", p.stdout)
                assert int(spans[1]) >= len(dirs), p.stdout
            server.start()
            for c in children:
                assert c.poll() is None, "a move failed"
    finally:
        for c in children:
            c.kill()
            c.wait()
    found = settled(mount, dirs)
    eq(sorted(found), sorted(f"{t}-{i}" for t in range(3) for i in range(8)), "every file is there")
    eq([n for n, where in found.items() if len(where) != 1], [], "in two places")
    listed = [k for k in server.s3().list("storm") if not k.endswith(b"/")]
    eq(listed, sorted(f"{where[0]}/{n}".encode() for n, where in found.items()), "as S3 lists them")
    for d in dirs:
        run("rm", "-r", mount.path("storm", d))
    eq(server.s3().list("storm"), [], "nothing is left")


def buckets_go(server, mount):
    """Only empty directories: gone with the bucket, wherever they are."""
    s3 = server.s3()
    s3.put("/going")
    dirs = dirs_in_shards(server, mount, "going", 8)
    for d in dirs:
        for e in dirs[:4]:
            os.mkdir(mount.path("going", d, e))
    s3.put(f"/going/{dirs[3]}/{dirs[1]}/file", "x")
    eq(s3.delete("/going").code(), "BucketNotEmpty", "a file is left")
    eq(len(os.listdir(mount.path("going"))), len(dirs), "and all directories")
    eq(s3.delete(f"/going/{dirs[3]}/{dirs[1]}/file").status, 204, "DELETE")
    eq(s3.delete("/going").status, 204, "only directories are left")
    eq(s3.get("/going/x").code(), "NoSuchBucket", "gone")


def main():
    server = Server(spread=1)
    t = Tap()
    t.run("counted", counted, server)
    t.run("listings", listings, server)
    mount = t.mount(server)
    for fn in (moves, killed_moves, buckets_go):
        t.run(fn.__name__.replace("_", " "), fn, server, mount)
    t.end()


main()
