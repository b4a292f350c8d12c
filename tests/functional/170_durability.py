#!/usr/bin/env python3
"""Durability of cluster and buckets: set, shown, and what it does: with memory a
change does not wait for the disk, fsync(2) does, a kill loses nothing; buckets
with disk keep their promise beside it."""

import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from baddisk import BadDisk
from leo import *

N = 200


def durability(server):
    status = server.adm_json("status")
    return status["durability"], status["memory_buckets"]


def named(server):
    """Buckets with memory, as status says it: to programs, and to people."""
    names = server.adm_json("status")["memory_bucket_names"]
    line = re.search(r"^ *buckets with durability memory: (.*)$", server.adm("status").stdout, re.M).group(1)
    eq(line, f"{len(names)}: {', '.join(names)}" if names else "0", "status")
    return names


def bucket(server, name):
    b = next(b for b in server.adm_json("get-buckets")["buckets"] if b["name"] == name)
    return b["durability"], b["durability_set"]


def settings():
    server = Server()
    for name in ("one", "two"):
        eq(server.s3().put(f"/{name}").status, 200, "bucket")
    eq(durability(server), ("disk", 0), "at first")
    eq(named(server), [], "at first")
    eq(bucket(server, "one"), ("disk", "default"), "at first")
    server.adm("set-bucket-durability", "one", "memory")
    eq(durability(server), ("disk", 1), "one bucket")
    eq(named(server), ["one"], "one bucket")
    eq(bucket(server, "one"), ("memory", "memory"), "its own")
    eq(bucket(server, "two"), ("disk", "default"), "the other")
    server.adm("set-durability", "memory")
    server.adm("set-bucket-durability", "two", "disk")
    eq(durability(server), ("memory", 1), "the cluster")
    eq(named(server), ["one"], "the cluster, but for the other")
    eq(bucket(server, "two"), ("disk", "disk"), "its own")
    text = server.adm("status").stdout
    assert "durability: memory" in text, text
    assert "memory" in server.adm("get-buckets").stdout
    server.adm("set-bucket-durability", "one", "default")
    eq(bucket(server, "one"), ("memory", "default"), "as the cluster")
    for args, says in (
        (("set-durability", "maybe"), "disk or memory"),
        (("set-durability", "default"), "disk or memory"),
        (("set-bucket-durability", "one", ""), "disk, memory or default"),
        (("set-bucket-durability", "none", "disk"), "no such bucket"),
        (("set-bucket-durability", "", "disk"), "no such bucket"),
    ):
        p = server.adm(*args, check=False)
        eq(p.returncode, 1, f"{args}")
        assert says in p.stderr, p.stderr
    for i in range(11):
        eq(server.s3().put(f"/more{i:02d}").status, 200, "bucket")
    eq(server.adm_json("status")["memory_bucket_names"], [f"more{i:02d}" for i in range(11)] + ["one"], "many")
    assert "memory: 12: more00, more01," in server.adm("status").stdout, "many"
    assert "more09, ... (get-buckets lists all)" in server.adm("status").stdout, "many"
    for i in range(11):
        eq(server.s3().delete(f"/more{i:02d}").status, 204, "bucket")
    server.restart()
    eq((durability(server), bucket(server, "two")), (("memory", 1), ("disk", "disk")), "after a restart")
    server.stop()


def new_cluster():
    p = subprocess.run([LEOFS, "server", "--data", os.path.join(tmpdir(), "d"), "--set", "durability=some"], capture_output=True, text=True)
    eq(p.returncode, 2, "exit")
    assert "durability" in p.stderr and "disk" in p.stderr, p.stderr
    server = Server(extra=("--set", "durability=memory"))
    eq(server.s3().put("/buck").status, 200, "bucket")
    eq(durability(server), ("memory", 1), "a new cluster")
    server.stop()


def counted(bad, fn):
    """How often the log was synced meanwhile."""
    bad.arm("sync", "/store/log/", times=0)
    fn()
    n = bad.seen()
    bad.disarm()
    return n


def syncs():
    bad = BadDisk()
    server = Server(loops=2, env=bad.env())
    s3 = server.s3()
    for name in ("disk", "memory"):
        eq(s3.put(f"/{name}").status, 200, "bucket")
    server.adm("set-bucket-durability", "memory", "memory")

    def puts(name, what):
        for i in range(N):
            eq(s3.put(f"/{name}/{what}{i}", b"x" * 1000).status, 200, "PUT")

    # the gateway hears of it by itself
    wait_for("memory", lambda: counted(bad, lambda: puts("memory", "w")) < N / 2)
    n = counted(bad, lambda: puts("disk", "a"))
    assert n >= N, f"{n} syncs for {N} PUTs, one after the other"
    n = counted(bad, lambda: [s3.delete(f"/memory/w{i}") for i in range(N)])
    assert n < N / 2, f"{n} syncs for {N} DELETEs"
    if os.path.exists("/dev/fuse"):
        on_the_mount(bad, server)
    server.stop()


def on_the_mount(bad, server):
    mount = Mount(server, "/memory")

    def files(tag, fsync):
        for i in range(N):
            fd = os.open(mount.path(f"{tag}{i}"), os.O_WRONLY | os.O_CREAT)
            os.write(fd, b"y" * 100)
            if fsync:
                os.fsync(fd)
            os.close(fd)

    n = counted(bad, lambda: files("m", False))
    assert n < N / 2, f"{n} syncs for {N} files"
    n = counted(bad, lambda: files("f", True))
    assert n >= N, f"{n} syncs for {N} calls of fsync"

    def dirs():
        for i in range(N):
            os.mkdir(mount.path(f"d{i}"))
            fd = os.open(mount.dir, os.O_RDONLY)
            os.fsync(fd)
            os.close(fd)

    n = counted(bad, dirs)
    assert n >= N, f"{n} syncs for {N} directories"
    # what is durable already costs nothing
    time.sleep(0.2)
    fd = os.open(mount.path("m0"), os.O_RDONLY)
    n = counted(bad, lambda: [os.fsync(fd) for _ in range(N)])
    os.close(fd)
    assert n <= 1, f"{n} syncs of nothing"
    mount.umount()


def kills(rng):
    """What was acknowledged is there, whatever the durability, and no more waits."""
    server = Server(loops=2, extra=("--set", "durability=memory"))
    s3 = server.s3()
    eq(s3.put("/buck").status, 200, "bucket")
    mount = Mount(server, "/buck") if os.path.exists("/dev/fuse") else None
    want = {}
    for i in range(8):
        for k in range(rng.randint(1, 60)):
            key, body = f"k{rng.randrange(200)}", os.urandom(rng.choice((10, 3000, 40000)))
            eq(server.s3().put(f"/buck/{key}", body).status, 200, "PUT")
            want[key] = body
        if mount is not None:
            with open(mount.path(f"file{i}"), "wb") as f:
                f.write(f"written {i}".encode())
            want[f"file{i}"] = f"written {i}".encode()
        server.kill()
        server.start()
        s3 = server.s3()
        eq(sorted(s3.list("buck")), sorted(k.encode() for k in want), f"names after kill {i}")
        for key, body in want.items():
            eq(s3.get(f"/buck/{key}").body == body, True, f"{key} after kill {i}")
    server.stop()


if __name__ == "__main__":
    seed = seed_from_argv()
    t = Tap()
    t.run("settings", settings)
    t.run("of a new cluster", new_cluster)
    t.run("syncs", syncs)
    t.run("kills", kills, random.Random(seed))
    t.end()
