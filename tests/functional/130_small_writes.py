#!/usr/bin/env python3
"""Many small durable writes to one file: its extents are merged, nobody can tell."""

import os
import random
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from leo import *

LINES = int(os.environ.get("LEO_LINES", "1500"))


def extents(server, key):
    return server.adm_json("whereis", key)["extents"]


def settled(server, key):
    """The number of extents once nothing is merged any more."""
    last = extents(server, key)
    while True:
        time.sleep(0.3)
        now = extents(server, key)
        if now == last:
            return now
        last = now


def lines(tag, n, length):
    return [f"{tag}{i:07} ".ljust(length - 1, "x").encode() + b"\n" for i in range(n)]


def write_lines(path, what, flags=0):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | flags, 0o644)
    os.lseek(fd, 0, os.SEEK_END)
    for line in what:
        os.write(fd, line)
        os.fsync(fd)
    os.close(fd)


def a_log(server, mount):
    first, second = lines("a", LINES, 100), lines("b", LINES, 300)
    write_lines(mount.path("log"), first)
    write_lines(mount.path("log"), second, os.O_APPEND)
    st, head = os.stat(mount.path("log")), server.s3().head("/small/log")
    n = settled(server, "small/log")
    assert n < 200, f"{n} extents"
    again, now = server.s3().head("/small/log"), os.stat(mount.path("log"))
    eq(again.header("etag"), head.header("etag"), "ETag while extents are merged")
    eq(again.header("last-modified"), head.header("last-modified"), "time")
    eq((now.st_mtime_ns, now.st_ctime_ns, now.st_size), (st.st_mtime_ns, st.st_ctime_ns, st.st_size), "attributes")
    want = b"".join(first + second)
    eq(server.s3().get("/small/log").body == want, True, "bytes in S3")
    with open(mount.path("log"), "rb") as f:
        eq(f.read() == want, True, "bytes in the mount")


def goes_on_after_a_kill(server, mount):
    before = os.stat(mount.path("log")).st_size
    server.restart()
    more = lines("c", LINES, 200)
    write_lines(mount.path("log"), more, os.O_APPEND)
    n = settled(server, "small/log")
    assert n < 300, f"{n} extents"
    body = server.s3().get("/small/log").body
    eq((len(body), body[before:] == b"".join(more)), (before + LINES * 200, True), "lines behind the kill")


def pages_of_a_database(server, mount):
    """Pages written anywhere, over chunks and over what was merged before."""
    rng = random.Random(seed)
    page, size = 512, 6 << 20
    model = bytearray(rng.randbytes(size))
    fd = os.open(mount.path("db"), os.O_RDWR | os.O_CREAT, 0o644)
    os.write(fd, model)
    os.fsync(fd)
    for i in range(LINES * 2):
        at = rng.randrange(size // 8 // page) * page  # often the same place
        data = rng.randbytes(page)
        model[at : at + page] = data
        os.pwrite(fd, data, at)
        if i % 4 == 0:
            os.fdatasync(fd)
    os.fsync(fd)
    os.close(fd)
    n = settled(server, "small/db")
    assert n < 1800, f"{n} extents"
    eq(server.s3().get("/small/db").body == bytes(model), True, "bytes in S3")


def main():
    global seed
    seed = seed_from_argv()
    t = Tap()
    server = Server()
    eq(server.s3().put("/small").status, 200, "bucket")
    mount = t.mount(server, "/small")
    for fn in (a_log, goes_on_after_a_kill, pages_of_a_database):
        t.run(fn.__name__.replace("_", " "), fn, server, mount)
    mount.umount()
    t.run("clean end", server.stop)
    t.end()


main()
