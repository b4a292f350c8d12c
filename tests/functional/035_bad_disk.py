#!/usr/bin/env python3
"""Disks that go wrong under real processes: a sync that fails, reads that flip
bits, bytes that rot in any file, databases and directories that are gone. What
was acknowledged is there, or the server says that it is not: by a sentence and
no start, or by an error to the request. Never other bytes, never a 404."""

import os
import re
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import load
from baddisk import BadDisk
from leo import *

SYNCS = int(os.environ.get("LEO_BAD_SYNCS", "6"))
FLIPS = int(os.environ.get("LEO_FLIPS", "40"))


# --- while it runs ---


def wait_end(server, seconds=20):
    p = server.procs[0]
    wait_for("the process to end", lambda: not p.alive(), seconds)
    return p


def failing_syncs(rng):
    """The process ends at once; the next one has everything."""
    bad = BadDisk()
    server = Server(env=bad.env())
    eq(server.s3().put(f"/{load.BUCKET}").status, 200, "bucket")
    mount = Mount.if_any(server)
    for i in range(SYNCS):
        kind, path = rng.choice([("sync", "/log/"), ("sync", "/bulk/"), ("write", "/log/"), ("sync", "/store/")])
        work = load.Load(server, mount, f"r{i}/", rng.random())
        time.sleep(rng.uniform(0.1, 0.6))
        bad.arm(kind, path, every=rng.randint(1, 5))
        p = wait_end(server)
        eq(bad.disarm(), 1, "calls that failed")
        eq(p.popen.returncode, -signal.SIGABRT, f"end after a failed {kind} in {path}: {p.tail()[-600:]}")
        server.start()
        time.sleep(0.2)
        work.stop()
        ops = work.check()
        print(f"# {kind} {path}: {work.acked()} acknowledged, {ops} in histories", flush=True)
    server.stop()


def full_disk(rng):
    """Writes that find no space for a while: whatever was acknowledged stays."""
    bad = BadDisk()
    server = Server(env=bad.env())
    eq(server.s3().put(f"/{load.BUCKET}").status, 200, "bucket")
    ended = 0
    for i in range(max(SYNCS // 2, 2)):
        work = load.Load(server, None, f"r{i}/", rng.random())
        time.sleep(rng.uniform(0.1, 0.4))
        bad.arm("full", rng.choice(["/log/", "/bulk/", "pool-", "/store/"]), times=rng.choice([1, 5, 40]))
        time.sleep(0.5)
        bad.disarm()
        if not server.procs[0].alive():
            ended += 1
            server.start()
        time.sleep(0.2)
        work.stop()
        work.check()
    print(f"# ended {ended} times")
    server.stop()


def flipped_reads(rng):
    """Reads give a wrong bit now and then; nobody ever gets it."""
    bad = BadDisk()
    server = Server(env=bad.env())
    eq(server.s3().put(f"/{load.BUCKET}").status, 200, "bucket")
    work = load.Load(server, None, "r/", rng.random())
    time.sleep(2)
    work.stop()
    server.kill()
    server.start()  # so that nothing is in memory
    facts = dict(kv for c in work.clients for kv in c.facts.items())
    good = errors = 0
    for where in ("/log/", "/bulk/", "/store/"):
        bad.arm("flip", where, times=1 << 30, every=2)
        s3 = server.s3()
        for key, value in facts.items():
            try:
                r = s3.get(f"/{load.BUCKET}/r/{key}")
            except Exception:
                errors += 1
                continue
            if r.status == 200:
                eq(load.name_of(r.body), value, key)
                good += 1
            else:
                assert r.status >= 500, f"{key}: {r}"
                errors += 1
    print(f"# {good} right, {errors} errors, {bad.disarm()} reads were flipped")
    assert good > 0 and errors > 0
    starts = refused = 0
    for i in range(6):
        server.kill()
        bad.arm("flip", rng.choice(["/log/", "/bulk/", "super", "/manager/"]), times=rng.randint(1, 3), every=rng.randint(1, 6))
        server.start(wait=False)
        if ready_or_refused(server):
            starts += 1
        else:
            refused += 1
        bad.disarm()
    server.kill()
    server.start()
    work.check()
    print(f"# started {starts} times, refused {refused} times")
    server.stop()


# --- while it is stopped ---


def ready_or_refused(server):
    """True: it serves. False: it ended by itself, with one sentence."""
    p = server.procs[0]

    def settled():
        if not p.alive():
            return True
        try:
            c = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
            c.request("GET", "/")
            return c.getresponse().status == 403
        except OSError:
            return False

    wait_for("a start or a refusal", settled, 30)
    if p.alive():
        return True
    # it may have begun to serve, and abort at the first row that it needs
    assert p.popen.returncode in (1, -signal.SIGABRT), f"{p.popen.returncode}: {p.tail()[-1500:]}"
    last = p.tail().strip().split("\n")[-1]
    assert " error " in last and len(last) > 60, f"no sentence: {last}"
    print(f"#   {last.split(': ', 1)[1][:140]}")
    return False


class Image:
    """A data directory with known contents, damaged in copies."""

    def __init__(self, rng, clean):
        self.rng = rng
        server = Server()
        eq(server.s3().put(f"/{load.BUCKET}").status, 200, "bucket")
        mount = Mount.if_any(server)
        self.work = load.Load(server, mount, "r/", rng.random())
        time.sleep(1.5)
        self.work.stop()
        self.work.check()
        time.sleep(0.3)  # each head says that its last records are durable
        if mount:
            mount.umount()
        if clean:
            server.stop()
        else:
            server.kill()
        server.fsck_wanted = False
        self.base = os.path.dirname(server.data)
        self.server = server
        self.clean = clean
        for d, _, names in os.walk(server.data):
            for name in names:
                if name.startswith("pool-") or name.endswith(".sock"):
                    os.unlink(os.path.join(d, name))
        os.rename(server.data, server.data + ".good")

    def files(self):
        top = self.server.data + ".good"
        for d, _, names in os.walk(top):
            for name in names:
                path = os.path.relpath(os.path.join(d, name), top)
                if path.startswith(("store/", "manager/")) and not path.endswith(("LOCK", "LOG")):
                    yield path

    def copy(self):
        shutil.rmtree(self.server.data, ignore_errors=True)
        run("cp", "-a", "--sparse=always", self.server.data + ".good", self.server.data)
        self.server.work = None

    def path(self, name):
        return os.path.join(self.server.data, name)

    def flip(self, name):
        """Flips a bit of what is used of the file."""
        with open(self.path(name), "r+b") as f:
            data = f.read().rstrip(b"\0") or b"\0"
            at = self.rng.randrange(len(data))
            bit = 1 << self.rng.randrange(8)
            f.seek(at)
            f.write(bytes([data[at] ^ bit]))
        return f"{name} at {at} of {len(data)}"

    def judge(self, same=False):
        """Starts on the copy and reads everything. same: all must be there."""
        server = self.server
        server.start(wait=False)
        try:
            if not ready_or_refused(server):
                assert not same, "refused"
                return "refused"
            good, errors = self.read_all(same)
        except BaseException:
            print(f"# {server.procs[0].tail()[-1500:]}")
            raise
        finally:
            server.kill()
        return f"{good} right, {errors} errors"

    def read_all(self, same):
        s3 = self.server.s3()
        good = errors = 0
        for c in self.work.everybody():
            for key, value in c.facts.items():
                try:
                    r = s3.get(f"/{load.BUCKET}/r/{key}")
                except Exception:
                    r = None
                    if not self.server.procs[0].alive():
                        assert not same, "ended"
                        ready_or_refused(self.server)
                        return good, "ended, no more"
                if r is not None and r.status == 200:
                    eq(load.name_of(r.body), value, key)
                    good += 1
                elif r is None or r.status >= 500:
                    assert not same, f"{key}: {r}"
                    errors += 1
                    if r is None:
                        s3 = self.server.s3()
                else:
                    raise AssertionError(f"acknowledged {key}: {r}")
        r = s3.request("GET", f"/{load.BUCKET}", query=[("list-type", "2"), ("prefix", "r/d0/")])
        if r.status == 200:
            for key in self.work.clients[0].facts:
                assert not key.startswith("d0/") or key.encode() in r.body, f"{key} is not listed"
        else:
            assert r.status >= 500 and not same, r
        return good, errors


def kind_of(path):
    """log, bulk, rows ... and the kind of file in it."""
    d, name = os.path.split(path)
    return d + "/" + re.sub(r"[0-9a-f]{6,}", "N", name)


def rot(rng, images):
    outcomes = {}
    for i in range(FLIPS):
        image = rng.choice(images)
        by_kind = {}
        for path in image.files():
            by_kind.setdefault(kind_of(path), []).append(path)
        path = rng.choice(by_kind[rng.choice(sorted(by_kind))])
        image.copy()
        what = image.flip(path)
        try:
            outcome = image.judge()
        except BaseException:
            print(f"# flipped {what}, {'stopped' if image.clean else 'killed'}")
            raise
        print(f"# {what}: {outcome}", flush=True)
        outcomes[outcome.split(" ")[-1]] = outcomes.get(outcome.split(" ")[-1], 0) + 1
    print(f"# summary: {FLIPS} flipped bytes; {outcomes.get('refused', 0)} refused to start, no other byte served")


def gone(rng, images):
    """Parts that are missing. True: nothing may be lost; None: not said."""
    cases = [
        ("store/chunks", True),
        ("store/rows", None),
        ("manager/rows", None),
        ("store/log", False),
        ("manager/log", False),
        ("store/super", False),
        ("manager/super", False),
        ("store/bulk", None),
    ]
    for image in images:
        for path, same in cases:
            image.copy()
            where = image.path(path)
            assert os.path.exists(where), f"there is no {path}"
            if os.path.isdir(where):
                shutil.rmtree(where)
            else:
                os.unlink(where)
            try:
                outcome = image.judge(same=same is True)
            except BaseException:
                print(f"# without {path}, {'stopped' if image.clean else 'killed'}")
                raise
            print(f"# without {path}: {outcome}", flush=True)
            if same is False:
                eq(outcome, "refused", f"without {path}")


def cut(rng, images):
    """A database file that ends early, one that is empty, one from another."""
    for image in images:
        tables = [p for p in image.files() if p.endswith((".ldb", "CURRENT")) or "MANIFEST" in p]
        for path in rng.sample(tables, min(4, len(tables))):
            image.copy()
            size = os.path.getsize(image.path(path))
            os.truncate(image.path(path), rng.choice([0, size // 2, size - 1]))
            print(f"# cut {path}: {image.judge(same='/chunks/' in path)}", flush=True)


def main():
    rng = random.Random(seed_from_argv())
    t = Tap()
    t.run(f"{SYNCS} failed syncs and writes", failing_syncs, rng)
    t.run("no space for a while", full_disk, rng)
    t.run("reads that flip bits", flipped_reads, rng)
    images = []
    t.run("images to damage", lambda: images.extend([Image(rng, True), Image(rng, False)]))
    t.run(f"{FLIPS} flipped bytes", rot, rng, images)
    t.run("parts that are gone", gone, rng, images)
    t.run("databases that are cut", cut, rng, images)
    t.end()


main()
