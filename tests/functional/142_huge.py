#!/usr/bin/env python3
"""Directories that are split over shards while both doors use them: every name is there once, in order,
whatever moves; modes and groups are inherited; kill -9 amid splits; what was emptied can be removed."""

import os
import random
import stat
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from leo import *

MOST = 64  # the least that can be set


def names_of(rng, n):
    """Names that lie thickly in some places, begin alike, or have bytes around the slash."""
    forms = ("{:08x}", "img-{:08x}.jpg", "a{:04x}", "a{:04x}!", "2026-11-{:02d}", "b.{:x}", "{:x}-", "z z {:x}")
    names = set()
    while len(names) < n:
        names.add(rng.choice(forms).format(rng.randrange(1 << 16 if rng.random() < 0.5 else 1 << 28)))
    return sorted(names)


def splits(server):
    return server.counts().get("dir_splits", 0)


def at_rest(server):
    """No names move any more: what stores count has been the same for some heartbeats."""
    last = [None, 0]

    def same():
        c = server.counts()
        c = (c["dir_splits"], c["dir_split_names"], c["far"])
        if c != last[0]:
            last[:] = c, time.monotonic()
        return time.monotonic() - last[1] > 3

    wait_for("the end of splitting", same, 90)


class Looker(threading.Thread):
    """Lists all the time: what was there when it began and is not removed is in the list once, in order."""

    def __init__(self, look, there):
        super().__init__(daemon=True)
        self.look, self.there = look, there
        self.stopped, self.error, self.looks = False, None, 0

    def run(self):
        try:
            while not self.stopped:
                before = set(self.there)
                got = self.look()
                assert len(set(got)) == len(got), f"twice: {sorted(n for n in got if got.count(n) > 1)[:5]}"
                lost = before - set(got)
                assert not lost, f"{len(lost)} are missing: {sorted(lost)[:5]}"
                self.looks += 1
        except BaseException as e:
            self.error = e

    def end(self):
        self.stopped = True
        self.join(60)
        if self.error:
            raise self.error
        assert self.looks > 0, "it never looked"


def same_lists(server, mount, bucket, dirname, want):
    """want: names, as bytes."""
    s3 = server.s3()
    prefix = f"{dirname}/"
    keys = sorted(prefix.encode() + n for n in want)
    eq(s3.list(bucket, prefix=prefix), keys, "LIST")
    eq(s3.list(bucket, prefix=prefix, max_keys=7), keys, "LIST in pages of 7")
    eq(s3.list(bucket, prefix=prefix, delimiter="/"), keys, "LIST with a delimiter")
    eq(s3.list(bucket, prefix=prefix, delimiter="/", max_keys=11), keys, "the same in pages of 11")
    for part in ("img", "img-0", "a", "a1", "2026-11-", "z z"):
        eq(s3.list(bucket, prefix=prefix + part), [k for k in keys if k.startswith((prefix + part).encode())], part)
    eq(sorted(os.listdir(os.fsencode(mount.path(bucket, dirname)))), sorted(want), "readdir")


def grows(server, mount):
    """Both doors make names in one directory, and others list it, while it is split again and again."""
    server.s3().put("/huge")
    rng = random.Random(11)
    names = names_of(rng, 3000)
    rng.shuffle(names)
    there, there_s3, errors = set(), set(), []
    os.mkdir(mount.path("huge", "dir"))

    def by_mount(mine):
        for n in mine:
            with open(mount.path("huge", "dir", n), "x") as f:
                f.write(n)
            there.add(n)
            there_s3.add(f"dir/{n}".encode())

    def by_s3(mine):
        s3 = server.s3()
        for n in mine:
            r = s3.put(f"/huge/dir/{n}", n)
            assert r.status == 200, f"PUT {n}: {r}"
            there.add(n)
            there_s3.add(f"dir/{n}".encode())

    def guarded(fn, mine):
        try:
            fn(mine)
        except BaseException as e:
            errors.append(e)

    writers = [
        threading.Thread(target=guarded, args=(fn, names[i::4]))
        for i, fn in enumerate((by_mount, by_s3, by_mount, by_s3))
    ]
    lister = server.s3()
    lookers = [
        Looker(lambda: os.listdir(mount.path("huge", "dir")), there),
        Looker(lambda: lister.list("huge", prefix="dir/", max_keys=500), there_s3),
    ]
    for th in writers + lookers:
        th.start()
    for th in writers:
        th.join()
    for th in lookers:
        th.end()
    assert not errors, errors[0]
    wait_for("splits", lambda: splits(server) >= 8)
    at_rest(server)
    same_lists(server, mount, "huge", "dir", [os.fsencode(n) for n in names])
    s3 = server.s3()
    for n in rng.sample(names, 200):
        eq(s3.get(f"/huge/dir/{n}").body, n.encode(), f"GET {n}")
        with open(mount.path("huge", "dir", n)) as f:
            eq(f.read(), n, f"read {n}")
    eq(s3.get("/huge/dir/img-").code(), "NoSuchKey", "one that is not there")
    assert not os.path.exists(mount.path("huge", "dir", "img-")), "one that is not there"


def names_change(server, mount):
    """Renames, links, removals and directories among segments."""
    p = lambda *parts: mount.path("huge", *parts)
    s3 = server.s3()
    rng = random.Random(12)
    have = set(os.listdir(p("dir")))
    fresh = iter([f"n{i:03d}{rng.choice('!-.0z')}" for i in range(600)])
    for _ in range(150):
        a, b = rng.sample(sorted(have), 2)
        new = next(fresh)
        ino = os.stat(p("dir", a)).st_ino
        what = rng.randrange(5)
        if what == 0:
            os.rename(p("dir", a), p("dir", new))
            have ^= {a, new}
            eq(os.stat(p("dir", new)).st_ino, ino, "inode")
        elif what == 1:
            os.rename(p("dir", a), p("dir", b))
            have.remove(a)
            eq(os.stat(p("dir", b)).st_ino, ino, "inode")
        elif what == 2:
            os.link(p("dir", a), p("dir", new))
            have.add(new)
            eq(os.stat(p("dir", new)).st_nlink, os.stat(p("dir", a)).st_nlink, "links")
        elif what == 3:
            os.unlink(p("dir", a))
            eq(s3.delete(f"/huge/dir/{b}").status, 204, "DELETE")
            have -= {a, b}
        else:
            os.mkdir(p("dir", new))
            try:
                os.mkdir(p("dir", new))
                raise AssertionError("mkdir twice")
            except FileExistsError:
                pass
            os.rename(p("dir", a), p("dir", new, "in"))
            os.rename(p("dir", new, "in"), p("dir", a))
            os.rmdir(p("dir", new))
    same_lists(server, mount, "huge", "dir", [os.fsencode(n) for n in have])


def removed(server, mount):
    """The last name of a segment, and of the directory: rmdir at once."""
    p = mount.path("huge", "dir")
    try:
        os.rmdir(p)
        raise AssertionError("rmdir of a full directory")
    except OSError as e:
        eq(e.errno, 39, "ENOTEMPTY")
    names = os.listdir(p)
    random.Random(13).shuffle(names)
    for n in names:
        os.unlink(os.path.join(p, n))
    os.rmdir(p)
    eq(server.s3().list("huge"), [], "nothing is left")
    # an implicit one goes with its last key
    s3 = server.s3()
    at_rest(server)
    before = splits(server)
    for i in range(3 * MOST):
        eq(s3.put(f"/huge/keys/{i:04d}", "x").status, 200, "PUT")
    wait_for("splits", lambda: splits(server) > before)
    at_rest(server)
    for i in range(3 * MOST):
        assert os.path.isdir(mount.path("huge", "keys")), "there while it has keys"
        eq(s3.delete(f"/huge/keys/{i:04d}").status, 204, "DELETE")
    wait_for("the end of what the kernel knows", lambda: not os.path.exists(mount.path("huge", "keys")), 5)
    eq(os.listdir(mount.path("huge")), [], "an implicit directory is left")
    eq(s3.delete("/huge").status, 204, "DELETE bucket")


def inherits(server, mount):
    """set-group-ID: new files get the group that the directory has now, in whichever segment."""
    server.s3().put("/groups")
    p = lambda *parts: mount.path("groups", *parts)
    os.mkdir(p("d"))
    os.chown(p("d"), -1, 4321)
    os.chmod(p("d"), 0o2775)
    before = splits(server)
    for i in range(6 * MOST):
        open(p("d", f"{i * 7919 % 1000:03d}"), "w").close()
    wait_for("splits", lambda: splits(server) > before + 2)
    at_rest(server)
    eq({os.stat(p("d", n)).st_gid for n in os.listdir(p("d"))}, {4321}, "groups")
    os.chown(p("d"), -1, 4322)
    os.chmod(p("d"), 0o2770)
    for i in range(0, 1000, 10):
        open(p("d", f"{i:03d}x"), "w").close()
        eq(os.stat(p("d", f"{i:03d}x")).st_gid, 4322, f"group of {i}")
    os.mkdir(p("d", "500sub"))
    st = os.stat(p("d", "500sub"))
    eq((st.st_gid, bool(st.st_mode & stat.S_ISGID)), (4322, True), "a directory in it")
    os.chmod(p("d"), 0o770)
    open(p("d", "700y"), "w").close()
    eq(os.stat(p("d", "700y")).st_gid, os.getgid(), "no set-group-ID any more")
    eq(stat.S_IMODE(os.stat(p("d")).st_mode), 0o770, "mode")
    run("rm", "-r", p("d"))


def killed(server, mount):
    """kill -9 while names move: what was acknowledged is there, once; what is under way ends."""
    server.s3().put("/killed")
    rng = random.Random(14)
    acknowledged, names = set(), names_of(rng, 2500)
    rng.shuffle(names)
    s3 = server.s3()
    at = 0
    for round in range(5):
        before = at
        while at < len(names) and at < before + 300 + 37 * round:
            eq(s3.put(f"/killed/d/{names[at]}", "x").status, 200, "PUT")
            acknowledged.add(f"d/{names[at]}".encode())
            at += 1
        server.kill()
        p = run(LEOFS, "fsck", "--data", server.data, "--read", check=False)
        eq(p.returncode, 0, f"leofs fsck: {p.stdout} {p.stderr}")
        server.start()
        s3 = server.s3()
        eq(s3.list("killed"), sorted(acknowledged), f"LIST after kill {round}")
        eq(
            sorted(b"d/" + n for n in os.listdir(os.fsencode(mount.path("killed", "d")))),
            sorted(acknowledged),
            f"readdir after kill {round}",
        )
    for i in range(MOST):
        eq(s3.put(f"/killed/d/end{i}", "x").status, 200, "PUT")
    at_rest(server)
    run("rm", "-r", mount.path("killed", "d"))
    eq(s3.list("killed"), [], "nothing is left")


def main():
    server = Server(extra=["--set", f"dir_split_names={MOST}"])
    t = Tap()
    mount = t.mount(server)
    for fn in (grows, names_change, removed, inherits, killed):
        t.run(fn.__name__.replace("_", " "), fn, server, mount)
    t.end()


main()
