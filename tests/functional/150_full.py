#!/usr/bin/env python3
"""A full disk: writes are refused, the rest goes on; what is deleted gives room again."""

import errno
import os
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from leo import *

MIB = 1 << 20
DISK = 384 * MIB  # half of so small a disk is the reserve
BALLAST = 32 * MIB
SETS = {
    "segment.size": "8MiB",
    "reader.lease": "1s",
    "opens.grace": "1s",
    "compaction.rate": "0",
    "compaction.threshold": "0",  # only when the disk is short of space
}


def sets():
    return [arg for name, value in SETS.items() for arg in ("--set", f"{name}={value}")]


def avail(server):
    st = os.statvfs(server.data)
    return st.f_bavail * st.f_frsize


class Facts:
    """What was acknowledged; the bytes follow from the key."""

    def __init__(self, server):
        self.server = server
        self.s3 = server.s3()
        self.sizes = {}

    def body(self, key):
        return random.Random(key).randbytes(self.sizes[key])

    def put(self, key, size):
        """The status; 200 is remembered."""
        status = self.s3.put(f"/full/{key}", random.Random(key).randbytes(size)).status
        if status == 200:
            self.sizes[key] = size
        return status

    def delete(self, key):
        eq(self.s3.delete(f"/full/{key}").status, 204, f"DELETE {key}")
        del self.sizes[key]

    def check(self):
        self.s3 = self.server.s3()
        for key in self.sizes:
            r = self.s3.get(f"/full/{key}")
            eq(r.status, 200, f"GET {key}")
            assert r.body == self.body(key), f"{key} is not what was stored"
        eq([k.decode() for k in self.s3.list("full")], sorted(self.sizes), "the list")


def fill(facts, prefix):
    """Until the store refuses; large objects and small ones."""
    for i in range(10000):
        status = facts.put(f"{prefix}{i:04}", (4 * MIB, 100, 20000, MIB)[i % 4])
        if status != 200:
            eq(status, 507, "a full disk")
            return
    raise AssertionError("the disk does not become full")


def ballast(server):
    return os.path.join(server.data, "ballast")


def refuses(server, facts):
    fill(facts, "a")
    # somebody else's: what the cleaner finds of refused writes makes no room
    with open(ballast(server), "wb") as f:
        os.posix_fallocate(f.fileno(), 0, BALLAST)
    wait_for("the store to see it", lambda: facts.put("seen", 1) == 507)
    print(f"# {len(facts.sizes)} objects, {avail(server) >> 20} MiB are free")
    r = facts.s3.put("/full/no", b"x")
    eq((r.status, r.code()), (507, "InsufficientStorage"), "PUT")
    r = facts.s3.request("POST", "/full/no", query=[("uploads", "")])
    eq(r.status, 507, "a new upload")
    facts.check()


def managers(server, facts):
    """What makes something there is refused, and leaves nothing; what takes something away is done."""
    r = facts.s3.put("/another")
    eq((r.status, r.code()), (507, "InsufficientStorage"), "a new bucket")
    eq(facts.s3.put("/full").code(), "BucketAlreadyOwnedByYou", "one that is there")
    p = server.adm("create-user", "somebody", check=False)
    assert p.returncode != 0 and "no space left" in p.stderr, f"a new user: {p}"
    p = server.adm("add-bucket", "more", check=False)
    assert p.returncode != 0 and "no space left" in p.stderr, f"a new bucket: {p}"
    eq(facts.s3.delete("/gone0").status, 204, "DELETE bucket")
    eq({b["name"] for b in server.adm_json("get-buckets")["buckets"]}, {"full", "gone1"}, "buckets")
    eq([u["name"] for u in server.adm_json("get-users")["users"]], ["admin"], "users")


def through_the_mount(server, facts):
    """ENOSPC; reading, listing, removing and renaming go on."""
    m = Mount(server, "/full")
    try:
        for how in ("wb", "ab"):
            try:
                with open(m.path("no"), how) as f:
                    f.write(b"x" * 300000)
            except OSError as err:
                eq(err.errno, errno.ENOSPC, "writing")
            else:
                raise AssertionError("a write to a full disk was taken")
        key = sorted(facts.sizes)[1]
        with open(m.path(key), "rb") as f:
            assert f.read() == facts.body(key), key
        os.rename(m.path(key), m.path("renamed"))
        os.rename(m.path("renamed"), m.path(key))
        os.remove(m.path(key))
        del facts.sizes[key]
        eq(sorted(os.listdir(m.dir)), sorted(facts.sizes), "readdir")
    finally:
        m.umount()


def killed_when_full(server, facts):
    """It starts again on the full disk, with everything, and refuses as before."""
    server.kill()
    server.fsck()
    server.start()
    facts.check()
    eq(facts.put("still", 1000), 507, "still full")


def kept(server, whose="store"):
    """The file of the reserve."""
    return os.path.join(server.data, whose, "reserve")


def take_all(path):
    """Every byte that is left."""
    size = 0
    with open(path, "wb") as f:
        for step in (8 * MIB, 256 << 10, 4096):
            while True:
                try:
                    os.posix_fallocate(f.fileno(), size, step)
                except OSError as err:
                    eq(err.errno, errno.ENOSPC, "taking all")
                    break
                size += step
    return size


def taken_by_others(server, facts):
    """Somebody takes what is left: what was kept serves deletes and the cleaner, which make room."""
    hog = os.path.join(server.data, "hog")
    process = server.procs[0]
    # it is made some time after the start
    for whose in ("store", "manager"):
        at = kept(server, whose)
        wait_for(f"what is kept of the {whose}", lambda: os.path.exists(at) and os.path.getsize(at) > 16 * MIB)
    os.kill(process.pid, signal.SIGSTOP)
    try:
        size = take_all(hog)
    finally:
        os.kill(process.pid, signal.SIGCONT)
    print(f"# {size >> 20} MiB taken, {avail(server) >> 20} MiB are free")
    wait_for("what was kept to be free", lambda: not os.path.exists(kept(server)))
    # the managers' log goes on, for sessions and buckets that go
    m = Mount(server, "/full")
    eq(sorted(os.listdir(m.dir)), sorted(facts.sizes), "readdir")
    m.umount()
    eq(server.s3().delete("/gone1").status, 204, "DELETE bucket")
    for key in [k for k, n in facts.sizes.items() if n < MIB][:40]:
        facts.delete(key)
    for key in [k for k, n in facts.sizes.items() if n >= MIB][:12]:
        facts.delete(key)
    eq(facts.put("no", 1), 507, "still full")
    facts.check()
    before = avail(server)
    wait_for("the cleaner", lambda: avail(server) > before + 8 * MIB, 60)
    assert process.alive(), process.tail()
    facts.check()
    os.remove(hog)
    os.remove(ballast(server))
    # what was kept is kept again once the disk is not full
    wait_for("room", lambda: facts.put("room", 100) == 200, 60)


def room_again(server, facts):
    """Deletes, and cleaning that nobody asked for, make room; several times."""
    for turn in "bc":
        for key in list(facts.sizes):
            if facts.sizes[key] >= MIB and random.random() < 0.6:
                facts.delete(key)
        wait_for("room", lambda: facts.put(f"{turn}-first", 100) == 200, 60)
        fill(facts, turn)
        facts.check()
    server.fsck()


def gone(server, facts):
    """Without a file the disk is nearly empty again."""
    for key in list(facts.sizes):
        facts.delete(key)

    def empty():
        server.adm("compact-start", "--wait")
        heads = server.adm_json("compact-status")["stores"][0]["heads"]
        return [h for h in heads if h["head"] == "bulk"][0]["bytes_total"] < 30 * MIB

    wait_for("the space of all", empty, 60)
    eq(facts.put("last", 4 * MIB), 200, "PUT")
    facts.check()
    for whose in ("store", "manager"):
        wait_for("the reserve", lambda: os.path.exists(kept(server, whose)))
    eq(facts.s3.put("/another").status, 200, "a bucket")


def main():
    tap = Tap()
    random.seed(seed_from_argv())
    state = {}

    def start():
        base = tmpdir()
        small_disk(DISK, base)
        state["server"] = Server(base=base, extra=sets())
        for name in ("full", "gone0", "gone1"):
            eq(state["server"].s3().put(f"/{name}").status, 200, "a bucket")

    tap.run("a small disk", start)
    if "server" in state:
        server = state["server"]
        facts = Facts(server)
        for test in (refuses, managers, through_the_mount, killed_when_full, taken_by_others, room_again, gone):
            tap.run(test.__name__, test, server, facts)
        server.stop()
    tap.end()


main()
