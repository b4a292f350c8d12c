#!/usr/bin/env python3
"""kill -9 at random instants under load from both doors: every acknowledged
write is there afterwards, none is half visible."""

import os
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from leo import *

ROUNDS = int(os.environ.get("LEO_KILLS", "10"))


def body(tag, n):
    size = (n * 7919) % 40000 if n % 17 else 5 * 1024 * 1024 + n
    unit = f"{tag}:{n}:".encode()
    return (unit * (size // len(unit) + 1))[: max(size, len(unit))]


class S3Writer(threading.Thread):
    """PUTs new keys, overwrites one; notes what was acknowledged."""

    def __init__(self, server, tag):
        super().__init__(daemon=True)
        self.server, self.tag = server, tag
        self.halt = threading.Event()
        self.n = 0
        self.acked = []
        self.over_acked = -1
        self.over_tried = -1

    def run(self):
        s3 = None
        while not self.halt.is_set():
            try:
                if s3 is None:
                    s3 = self.server.s3()
                if self.n % 5 == 4:
                    self.over_tried = self.n
                    r = s3.put(f"/kill/over-{self.tag}", body(self.tag, self.n))
                    if r.status == 200:
                        self.over_acked = self.n
                else:
                    r = s3.put(f"/kill/d{self.n % 3}/{self.tag}-{self.n}", body(self.tag, self.n))
                    if r.status == 200:
                        self.acked.append(self.n)
                self.n += 1
            except Exception:
                s3 = None
                time.sleep(0.01)
                self.n += 1


def write_in_mount(directory, tag):
    """A process of its own: write + fsync + rename, the way careful programs
    save; prints what was acknowledged until its input ends. (A file held open
    by the process that starts servers would be closed by its child before exec,
    and that close waits for the server.)"""
    halt = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), halt.set()), daemon=True).start()
    n = 0
    while not halt.is_set():
        tmp = os.path.join(directory, f".tmp-{tag}")
        try:
            with open(tmp, "wb") as f:
                f.write(body(tag, n)[:60000])
                f.flush()
                os.fsync(f.fileno())
            os.rename(tmp, os.path.join(directory, f"{tag}-{n}"))
            print(n, flush=True)
        except OSError:
            time.sleep(0.01)
        n += 1


class MountWriter:
    def __init__(self, mount, tag):
        self.mount, self.tag = mount, tag
        self.acked = []

    def start(self):
        self.child = subprocess.Popen(
            [sys.executable, os.path.abspath(__file__), "--write", self.mount.path("kill"), self.tag],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )

    def halt(self):
        self.child.stdin.close()

    def join(self):
        self.acked = [int(line) for line in self.child.stdout.read().split()]
        self.child.wait()


def check(server, mount, writers, saver):
    s3 = server.s3()
    for w in writers:
        for n in w.acked:
            r = s3.get(f"/kill/d{n % 3}/{w.tag}-{n}")
            eq(r.status, 200, f"acknowledged {w.tag}-{n}")
            if r.body != body(w.tag, n):
                raise AssertionError(f"{w.tag}-{n} has other bytes ({len(r.body)})")
        if w.over_acked >= 0:
            r = s3.get(f"/kill/over-{w.tag}")
            eq(r.status, 200, "overwritten key")
            seen = int(r.body.split(b":")[1])
            assert w.over_acked <= seen <= w.over_tried, (w.over_acked, seen, w.over_tried)
            if r.body != body(w.tag, seen):
                raise AssertionError(f"over-{w.tag} is torn")
    if saver is None:
        return
    for n in saver.acked:
        with open(mount.path("kill", f"{saver.tag}-{n}"), "rb") as f:
            if f.read() != body(saver.tag, n)[:60000]:
                raise AssertionError(f"saved {saver.tag}-{n} has other bytes")


def kills(rng):
    server = Server(loops=2)
    eq(server.s3().put("/kill").status, 200, "bucket")
    mount = None
    if os.path.exists("/dev/fuse"):
        mount = Mount(server)
    total = 0
    for i in range(ROUNDS):
        writers = [S3Writer(server, f"r{i}w{k}") for k in range(3)]
        saver = MountWriter(mount, f"r{i}m") if mount else None
        for w in writers:
            w.start()
        if saver:
            saver.start()
        time.sleep(rng.uniform(0.2, 1.2))
        server.kill()
        for w in writers:
            w.halt.set()
        if saver:
            saver.halt()
        server.start()
        for w in writers:
            w.join(60 * SLOW)
            assert not w.is_alive(), "a writer hangs"
        if saver:
            saver.join()
        check(server, mount, writers, saver)
        total += sum(len(w.acked) for w in writers) + (len(saver.acked) if saver else 0)
        print(f"# kill {i}: {total} acknowledged writes so far, all there", flush=True)
    assert total > 5 * ROUNDS, f"only {total} writes were acknowledged"
    listed = server.s3().list("kill")
    eq(listed, sorted(listed), "LIST in order")
    server.stop()


def main():
    if sys.argv[1:2] == ["--write"]:
        return write_in_mount(sys.argv[2], sys.argv[3])
    rng = random.Random(seed_from_argv())
    t = Tap()
    t.run(f"{ROUNDS} kills under load", kills, rng)
    t.end()


main()
