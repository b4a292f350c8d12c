#!/usr/bin/env python3
"""Disks that go wrong under real processes: a sync that fails, reads that flip
bits, bytes that rot in any file, databases and directories that are gone. What
was acknowledged is there, or the server says that it is not: by a sentence and
no start, or by an error to the request. Never other bytes, never a 404."""

import errno
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


OLD = ("store/rows", "store/chunks", "manager/rows")  # databases that are kept as they were early on
KEPT = ("etag", "content-length", "last-modified", "content-type", "cache-control")


def said_of(r):
    """What a HEAD says of the object."""
    return {name: value for name, value in r.headers.items() if name in KEPT or name.startswith("x-amz-meta-")}


class Image:
    """A data directory with known contents, damaged in copies. trimmed: the log does not go back to the start."""

    def __init__(self, rng, clean, trimmed=False):
        self.rng = rng
        settings = {"segment.size": "8MiB", "compaction.rate": "0", "reader.lease": "1s"} if trimmed else {}
        server = Server(extra=[text for name, value in settings.items() for text in ("--set", f"{name}={value}")])
        eq(server.s3().put(f"/{load.BUCKET}").status, 200, "bucket")
        if trimmed:
            self.overwrite(server, 100)  # most of the first segment
        server.kill()
        for path in OLD:
            shutil.copytree(os.path.join(server.data, path), os.path.join(server.base, "old", path))
        server.start()
        self.alice = server.adm_json("create-user", "alice")
        mount = Mount.if_any(server)
        self.work = load.Load(server, mount, "r/", rng.random())
        time.sleep(1.5)
        self.work.stop()
        self.work.check()
        self.facts = dict(kv for c in self.work.everybody() for kv in c.facts.items())
        self.describe(server.s3())
        if trimmed:
            self.trim(server)
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

    def trim(self, server):
        """Until segments of the log are gone that the early copies of the rows know."""
        log = os.path.join(server.data, "store", "log")
        first = min(os.listdir(log))
        self.overwrite(server, 1300)  # 78 MB: makes row snapshots worth it
        for _ in range(2):
            eq(server.adm("compact-start", "all", "--wait").stdout, "OK\n", "compact-start")
        assert first not in os.listdir(log), f"{first} is still there"

    def overwrite(self, server, n):
        """Fills the log with n values, and leaves few."""
        s3 = server.s3()
        for i in range(n):
            eq(s3.put(f"/{load.BUCKET}/over{i % 5}", bytes(60000)).status, 200, "PUT")

    def describe(self, s3):
        """Some more objects, with metadata; what is known of all beside their bytes."""
        for i in range(12):
            value = f"described.{i}"
            headers = {"x-amz-meta-value": value, "x-amz-meta-long": "m" * 40 * i, "content-type": f"text/x-{i}", "cache-control": "no-store"}
            eq(s3.put(f"/{load.BUCKET}/r/described/{i}", load.fill(value), **headers).status, 200, "PUT")
            self.facts[f"described/{i}"] = value
        self.said = {}
        for key in self.facts:
            r = s3.head(f"/{load.BUCKET}/r/{key}")
            eq(r.status, 200, f"HEAD {key}")
            self.said[key] = said_of(r)
            eq(int(self.said[key]["content-length"]), len(load.fill(self.facts[key])), key)

    def files(self):
        top = self.server.data + ".good"
        for d, _, names in os.walk(top):
            for name in names:
                path = os.path.relpath(os.path.join(d, name), top)
                if path.startswith(("store/", "manager/")) and not path.endswith(("LOCK", "LOG", "LOG.old", "/lock", "/reserve")):
                    yield path

    def copy(self):
        shutil.rmtree(self.server.data, ignore_errors=True)
        run("cp", "-a", "--sparse=always", self.server.data + ".good", self.server.data)

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
            errors = self.read_rest(same, errors)
        except BaseException:
            print(f"# {server.procs[0].tail()[-1500:]}")
            raise
        finally:
            server.kill()
        return f"{good} right, {errors} errors"

    def read_all(self, same):
        s3 = self.server.s3()
        good = errors = 0
        for key, value in self.facts.items():
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
                eq(said_of(r), self.said[key], f"said of {key}")
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
            for key in self.facts:
                assert not key.startswith("d0/") or key.encode() in r.body, f"{key} is not listed"
        else:
            assert r.status >= 500 and not same, r
        return good, errors

    def read_rest(self, same, errors):
        """A HEAD, and a read through the mount, of some; what the managers know. How many errors there are."""
        if not self.server.procs[0].alive():
            return errors
        s3 = self.server.s3()
        for key in self.rng.sample(sorted(self.facts), min(20, len(self.facts))):
            r = s3.head(f"/{load.BUCKET}/r/{key}")
            if r.status == 200:
                eq(said_of(r), self.said[key], f"HEAD {key}")
            else:
                assert r.status >= 500 and not same, f"HEAD {key}: {r}"
        r = self.server.s3(self.alice["access_key"], self.alice["secret_key"]).get("/")
        eq(r.status, 200, "a user that was made")
        if (same or self.rng.random() < 0.3) and os.path.exists("/dev/fuse"):
            self.through_a_mount(same)
        return errors

    def through_a_mount(self, same):
        mount = Mount(self.server, f"/{load.BUCKET}", "timeout=5")
        for key in self.rng.sample(sorted(self.facts), min(20, len(self.facts))):
            path = mount.path("r", key)
            try:
                size = os.stat(path).st_size
                with open(path, "rb") as f:
                    body = f.read()
            except OSError as err:
                assert err.errno == errno.EIO and not same, f"{key}: {err}"
                continue
            eq(load.name_of(body), self.facts[key], f"{key} in the mount")
            eq(size, len(body), f"size of {key} in the mount")
        mount.umount()


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


def trimmed(rng):
    """Without the beginning of the log: what the rows had is in their snapshots."""
    image = Image(rng, False, trimmed=True)
    image.copy()
    print(f"# nothing is wrong: {image.judge(same=True)}", flush=True)
    for how in ("old", "gone"):
        image.copy()
        shutil.rmtree(image.path("store/rows"))
        if how == "old":
            shutil.copytree(os.path.join(image.base, "old", "store/rows"), image.path("store/rows"))
        print(f"# {how} rows: {image.judge(same=True)}", flush=True)


def gone(rng, images):
    """Parts that are missing. True: nothing may be lost, as the log has all since the start; None: not said."""
    cases = [
        ("store/chunks", True),
        ("store/rows", True),
        ("manager/rows", True),
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


def older(rng, images):
    """Databases from an early copy: what the log has since is in none of them, and nothing is lost."""
    for image in images:
        for paths in [(path,) for path in OLD] + [OLD]:
            image.copy()
            for path in paths:
                shutil.rmtree(image.path(path))
                shutil.copytree(os.path.join(image.base, "old", path), image.path(path))
            try:
                outcome = image.judge(same=True)
            except BaseException:
                print(f"# old {' '.join(paths)}, {'stopped' if image.clean else 'killed'}")
                raise
            print(f"# old {' '.join(paths)}: {outcome}", flush=True)


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
    t.run("databases that are old", older, rng, images)
    t.run("databases that are cut", cut, rng, images)
    t.run("a log that was trimmed", trimmed, rng)
    t.end()


main()
