#!/usr/bin/env python3
"""Two mounts and S3 over the same files: close-to-open, and a server that goes away."""

import errno
import os
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from leo import *


def close_to_open(server, a, b):
    for i in range(30):
        with open(a.path("two", "f"), "w") as f:
            f.write(f"round {i} " * (i * 300))
        with open(b.path("two", "f")) as f:
            eq(f.read(), f"round {i} " * (i * 300), "what the other mount closed")
        a, b = b, a


def s3_and_mount(server, a, b):
    s3 = server.s3()
    for i in range(20):
        s3.put("/two/g", f"from S3 {i}")
        with open(a.path("two", "g")) as f:
            eq(f.read(), f"from S3 {i}", "mount after PUT")
        with open(a.path("two", "g"), "w") as f:
            f.write(f"from mount {i}")
        eq(s3.get("/two/g").body, f"from mount {i}".encode(), "S3 after close")


def names_in_turn(server, a, b):
    for i in range(20):
        os.mkdir(a.path("two", f"d{i}"))
        os.rename(b.path("two", f"d{i}"), b.path("two", f"e{i}"))
        wait_for("the rename", lambda: os.path.isdir(a.path("two", f"e{i}")), 5)
        os.rmdir(a.path("two", f"e{i}"))
    eq(sorted(os.listdir(b.path("two"))), ["f", "g"], "nothing left")


def appends(server, a, b):
    path = "log"
    n = 60

    def work(mount, tag):
        for i in range(n):
            fd = os.open(mount.path("two", path), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(fd, f"{tag}{i:04d}\n".encode())
            os.close(fd)

    threads = [threading.Thread(target=work, args=x) for x in ((a, "a"), (b, "b"))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    lines = server.s3().get("/two/log").body.split()
    want = sorted(f"{tag}{i:04d}".encode() for tag in "ab" for i in range(n))
    eq(sorted(lines), want, "no append is lost or torn")


def server_gone(server, a, b):
    short = Mount(server, "/two", "timeout=2")
    with open(short.path("f"), "w") as f:
        f.write("before")
    server.kill()
    start = time.monotonic()
    try:
        os.stat(short.path("never-looked-up"))
        raise AssertionError("stat without a server")
    except FileNotFoundError:
        raise AssertionError("ENOENT without a server")
    except OSError as err:
        eq(err.strerror, "Input/output error", "after timeout=")
    took = time.monotonic() - start
    assert took < 10 * SLOW, took
    server.start()
    with open(short.path("f")) as f:
        eq(f.read(), "before", "the mount recovers")
    with open(a.path("two", "f")) as f:
        eq(f.read(), "before", "the other one too")
    short.umount()


def exchanges(server, a, b):
    os.mkdir(a.path("two", "dir"))
    for name in ("one", "dir/two"):
        with open(a.path("two", name), "w") as f:
            f.write(name)
    renameat2(a.path("two", "one"), a.path("two", "dir"), RENAME_EXCHANGE)
    eq(os.listdir(a.path("two", "one")), ["two"], "a directory under the other name")
    with open(a.path("two", "dir")) as f:
        eq(f.read(), "one", "a file under the other name")
    for old, new, flags, err in (
        ("one", "none", RENAME_EXCHANGE, errno.ENOENT),
        ("one", "one/two", RENAME_EXCHANGE, errno.EINVAL),
        ("one", "dir", RENAME_NOREPLACE, errno.EEXIST),
        ("one", "dir", RENAME_NOREPLACE | RENAME_EXCHANGE, errno.EINVAL),
    ):
        try:
            renameat2(a.path("two", old), a.path("two", new), flags)
            raise AssertionError(f"renameat2 {old} {new} {flags}")
        except OSError as e:
            eq(e.errno, err, f"renameat2 {old} {new} {flags}")
    os.unlink(a.path("two", "one", "two"))
    os.rmdir(a.path("two", "one"))
    os.unlink(a.path("two", "dir"))


def swapped_names(server, a, b):
    """Two names change their bytes 1,000 times; no open on another mount sees old ones."""
    s3 = server.s3()
    names = ["x", "y"]
    for name in names:
        s3.put(f"/two/{name}", "0")
    done = [0]  # swaps that ended
    stop = threading.Event()
    bad = []

    def look():
        i = 0
        while not stop.is_set():
            name = names[i % 2]
            least = done[0]
            try:
                with open(b.path("two", name)) as f:
                    got = int(f.read())
            except OSError as e:
                # the kernel looks a name up again once; it may change again
                if e.errno != errno.ESTALE:
                    bad.append(str(e))
                continue
            if got < least:
                bad.append(f"{name} is {got}, {least} was acknowledged")
            i += 1
        if i < 100:
            bad.append(f"only {i} opens")

    reader = threading.Thread(target=look)
    reader.start()
    try:
        for n in range(1, 1001):
            for name in names:
                if n % 2 == 0:
                    s3.put(f"/two/{name}", str(n))
                    continue
                with open(a.path("two", "new"), "w") as f:
                    f.write(str(n))
                if n % 4 == 1:
                    renameat2(a.path("two", "new"), a.path("two", name), RENAME_EXCHANGE)
                else:
                    os.rename(a.path("two", "new"), a.path("two", name))
            # the two files themselves change places
            renameat2(a.path("two", "x"), a.path("two", "y"), RENAME_EXCHANGE)
            done[0] = n
    finally:
        stop.set()
        reader.join()
    eq(bad, [], "stale opens")


WRITER = """
import sys
for i in range(40):
    with open(f"{sys.argv[1]}/w{i}", "w") as f:
        f.write(str(i))
    print(i, flush=True)
"""


def waits_through_a_restart(server, a, b):
    # another process: see 030_kill.py
    child = subprocess.Popen(
        [sys.executable, "-c", WRITER, a.path("two")], stdout=subprocess.PIPE, text=True
    )
    for _ in range(5):
        child.stdout.readline()
    server.kill()
    server.start()
    rest = child.stdout.read().split()
    eq((child.wait(), len(rest)), (0, 35), "writes go on after the restart, without an error")
    for i in range(40):
        eq(server.s3().get(f"/two/w{i}").body, str(i).encode(), f"w{i}")


def main():
    server = Server()
    eq(server.s3().put("/two").status, 200, "bucket")
    t = Tap()
    a, b = t.mount(server), t.mount(server)
    for fn in (close_to_open, s3_and_mount, names_in_turn, exchanges, swapped_names, appends, server_gone, waits_through_a_restart):
        t.run(fn.__name__.replace("_", " "), fn, server, a, b)
    t.end()


main()
