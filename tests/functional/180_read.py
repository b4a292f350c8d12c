#!/usr/bin/env python3
"""Large files through the mount, read from the disk, from the page cache, by
several at once, backwards, while the server dies and while the file changes:
always the bytes that were written."""

import hashlib
import os
import random
import signal
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from leo import *

MIB = 1 << 20
SIZE = 100 * MIB + 4321  # more than a region, and a part of a page


class File:
    """Bytes that tell where they are, and a fresh mount whenever asked."""

    def __init__(self, t, seed):
        self.server = Server()
        eq(self.server.s3().put("/read").status, 200, "bucket")
        self.mount = t.mount(self.server, "/read")
        self.bytes = bytearray(random.Random(seed).randbytes(SIZE))
        with open(self.mount.path("file"), "wb", buffering=0) as f:
            for at in range(0, SIZE, MIB):
                f.write(self.bytes[at : at + MIB])

    def fresh(self, server=False):
        """Nothing known to the mount, or to the server, either."""
        self.mount.umount()
        if server:
            self.server.restart()
        self.mount.start()

    def open(self):
        return open(self.mount.path("file"), "rb", buffering=0)

    def check(self, f, at, n):
        """Reads [at, at + n)."""
        f.seek(at)
        while n > 0:
            got = f.read(min(n, MIB))
            want = self.bytes[at : at + len(got)]
            assert got == want, f"other bytes in {len(got)} at {at}"
            if not got:
                assert at >= SIZE, f"end of file at {at}"
                return
            at, n = at + len(got), n - len(got)

    def check_all(self):
        with self.open() as f:
            self.check(f, 0, SIZE + 1)


def again_and_again(file):
    file.fresh(server=True)
    for _ in range(3):  # past the page cache, into it, out of it
        file.check_all()
        file.fresh()


def several(file):
    file.fresh(server=True)
    failed = []

    def read(f, at):
        try:
            for _ in range(2):
                with file.open() as mine:
                    file.check(mine, at, 40 * MIB)
        except BaseException as err:
            failed.append(err)

    threads = [threading.Thread(target=read, args=(file, i * 13 * MIB + i)) for i in range(6)]
    for th in threads:
        th.start()
    for th in threads:
        th.join()
    eq(failed, [], "readers")


def anywhere(file, seed):
    """Backwards, in jumps, some of it in order, through one handle."""
    rng = random.Random(seed)
    file.fresh(server=True)
    with file.open() as f:
        for at in range(SIZE - 3 * MIB, 0, -7 * MIB):
            file.check(f, at, 2 * MIB)
        for _ in range(60):
            file.check(f, rng.randrange(SIZE), rng.choice([1, 4096, 70000, MIB, 9 * MIB]))


def bytes_read(file):
    """By the server, in all kinds of calls."""
    with open(f"/proc/{file.server.procs[0].pid}/io") as f:
        return int(f.readline().split()[1])  # rchar


def here_and_there(file, seed):
    """A few bytes at a time, by several, through both doors, while the cleaner works: what was read of
    a chunk before costs no second read of all of it."""
    file.fresh(server=True)
    for at in range(0, SIZE, 4 * MIB):  # each chunk is met once
        eq(file.server.s3().get("/read/file", Range=f"bytes={at}-{at}").body, file.bytes[at : at + 1], f"{at}")
    failed, n, length = [], 150, 3000
    before = bytes_read(file)

    def read(door, seed):
        rng = random.Random(seed)
        try:
            s3 = file.server.s3()
            with file.open() as f:
                os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
                for _ in range(n):
                    at = rng.randrange(SIZE - length)
                    if door == "s3":
                        got = s3.get("/read/file", Range=f"bytes={at}-{at + length - 1}").body
                    else:
                        got = os.pread(f.fileno(), length, at)
                    assert got == file.bytes[at : at + length], f"other bytes at {at}, {door}"
        except BaseException as err:
            failed.append(err)

    threads = [threading.Thread(target=read, args=(("s3", "mount")[i % 2], seed + i)) for i in range(6)]
    for th in threads:
        th.start()
    file.server.adm("compact-start", check=False)
    for th in threads:
        th.join()
    eq(failed, [], "readers")
    each = (bytes_read(file) - before) // (6 * n)
    print(f"# {each} bytes read for each {length}")
    assert each < MIB, f"{each} bytes read for each {length}"


def server_dies(file):
    file.fresh()
    with file.open() as f:
        for i, at in enumerate(range(0, SIZE, 20 * MIB)):
            file.check(f, at, 20 * MIB)
            file.server.kill()
            if i % 2 == 0:
                # what was fetched ahead may be given, the rest has to wait
                late = threading.Timer(0.3, file.server.start)
                late.start()
                file.check(f, at + 20 * MIB, MIB)
                late.join()
            else:
                file.server.start()


def changes(file):
    """Through the same mount, behind and ahead of the reader."""
    file.fresh()
    with file.open() as f, open(file.mount.path("file"), "r+b", buffering=0) as w:
        for at in range(0, SIZE, 9 * MIB):
            file.check(f, at, MIB)
            for to in (at // 2, at + MIB + 5, at + 6 * MIB):
                piece = hashlib.sha256(b"%d" % to).digest() * 3000
                piece = piece[: max(SIZE - to, 0)]
                if piece:
                    w.seek(to)
                    w.write(piece)
                    file.bytes[to : to + len(piece)] = piece
            os.fsync(w.fileno())
            file.check(f, at + MIB, 8 * MIB)
    file.check_all()


def small(file):
    """The bytes of a small file come with its open(): a read() that follows at once asks nobody."""
    s3, pid = file.server.s3(), file.server.procs[0].pid
    s3.put("/small")
    mount = Mount(file.server, "/small")
    there = 0
    for i in range(40):
        data = hashlib.sha256(b"%d" % i).digest() * (1 + i * 50)
        eq(s3.put(f"/small/f{i}", data).status, 200, "PUT")
        got = []
        with open(mount.path(f"f{i}"), "rb", buffering=0) as f:
            os.kill(pid, signal.SIGSTOP)
            try:
                reader = threading.Thread(target=lambda: got.append(f.read(len(data) + 1)))
                reader.start()
                reader.join(0.3)
                there += len(got)
            finally:
                os.kill(pid, signal.SIGCONT)
            reader.join()
        eq(got, [data], f"f{i}")
    assert there >= 20, f"{there} of 40 were there"
    mount.umount()


def main():
    seed = seed_from_argv()
    t = Tap()
    file = File(t, seed)
    t.run("three times", again_and_again, file)
    t.run("six at once", several, file)
    t.run("anywhere", anywhere, file, seed)
    t.run("here and there", here_and_there, file, seed)
    t.run("the server dies", server_dies, file)
    t.run("the file changes", changes, file)
    t.run("small files", small, file)
    file.mount.umount()
    t.run("clean end", file.server.stop)
    t.end()


main()
