#!/usr/bin/env python3
"""Two mounts and S3 over the same files: close-to-open, and a server that goes away."""

import ctypes
import errno
import mmap
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


def directories_in_turn(server, a, b):
    """One that goes and comes again is another one: whoever knew the old one finds what is in the new one."""
    s3 = server.s3()
    for i in range(20):
        # with its last key it goes, with the next one it is there again
        eq(s3.put("/two/goes/in/key", f"first {i}").status, 200, "PUT")
        with open(b.path("two", "goes", "in", "key")) as f:
            eq(f.read(), f"first {i}", "what was there first")
        eq(s3.delete("/two/goes/in/key").status, 204, "DELETE")
        eq(s3.put("/two/goes/in/key", f"then {i}").status, 200, "PUT")
        with open(b.path("two", "goes", "in", "key")) as f:
            eq(f.read(), f"then {i}", "what is there now")
        eq(s3.delete("/two/goes/in/key").status, 204, "DELETE")
        eq(s3.put("/two/goes/in/key2", "then").status, 200, "PUT")
        with open(b.path("two", "goes", "in", "new"), "x") as f:
            f.write("made where the new one is")
        eq(s3.get("/two/goes/in/new").body, b"made where the new one is", "a new file")
        run("rm", "-r", a.path("two", "goes"))
        # the same by mkdir on the other mount
        os.mkdir(a.path("two", "turn"))
        with open(a.path("two", "turn", "f"), "w") as f:
            f.write(f"first {i}")
        with open(b.path("two", "turn", "f")) as f:
            eq(f.read(), f"first {i}", "what was there first")
        run("rm", "-r", a.path("two", "turn"))
        os.mkdir(a.path("two", "turn"))
        with open(a.path("two", "turn", "f"), "w") as f:
            f.write(f"then {i}")
        with open(b.path("two", "turn", "f")) as f:
            eq((f.read(), os.fstat(f.fileno()).st_size), (f"then {i}", len(f"then {i}")), "what is there now")
        eq(os.listdir(b.path("two", "turn")), ["f"], "what is there now")
        run("rm", "-r", a.path("two", "turn"))


def within_a_directory_that_is_gone(server, a, b):
    """Who works in one that somebody else has removed finds nothing in it."""
    s3 = server.s3()
    for remove in (lambda: s3.delete("/two/gone/key"), lambda: run("rm", "-r", a.path("two", "gone"))):
        eq(s3.put("/two/gone/key", "x").status, 200, "PUT")
        fd = os.open(b.path("two", "gone"), os.O_RDONLY)
        eq(os.stat("key", dir_fd=fd).st_size, 1, "key")
        remove()
        for i in range(3):
            for what, fn in (
                ("stat", lambda: os.stat(f"other{i}", dir_fd=fd)),
                ("open", lambda: os.open("key", os.O_RDONLY, dir_fd=fd)),
                ("unlink", lambda: os.unlink(f"other{i}", dir_fd=fd)),
                ("create", lambda: os.open(f"new{i}", os.O_CREAT | os.O_WRONLY, dir_fd=fd)),
            ):
                try:
                    fn()
                    raise AssertionError(f"{what} in a directory that is gone")
                except FileNotFoundError:
                    pass
        os.close(fd)
        run("rm", "-rf", b.path("two", "gone"))  # the kernel may believe in it
        wait_for("the end of what the kernel knows", lambda: not os.path.exists(b.path("two", "gone")), 5)


def a_file_that_the_kernel_knew(server, a, b):
    """... in a directory that went and came again: the kernel asks for it in the one that is gone, twice in one walk."""
    s3 = server.s3()
    for what in (os.stat, os.open):
        args = (os.O_RDONLY,) if what is os.open else ()
        eq(s3.put("/two/comes/key", "old").status, 200, "PUT")
        os.stat(b.path("two", "comes", "key"))
        time.sleep(1.05)  # entry_timeout of the file; that of the directory begins again
        os.stat(b.path("two", "comes"))
        eq(s3.delete("/two/comes/key").status, 204, "DELETE")
        eq(s3.put("/two/comes/key", "new one").status, 200, "PUT")
        what(b.path("two", "comes", "key"), *args)
        eq(s3.delete("/two/comes/key").status, 204, "DELETE")


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
    """Two names change their bytes 1,000 times; no open on another mount sees old ones, or is told ESTALE."""
    s3 = server.s3()
    names = ["x", "y"]
    for name in names:
        s3.put(f"/two/{name}", "0")
    done = [0]  # swaps that ended
    stop = threading.Event()
    bad, opens = [], [0]

    def look():
        try:
            while not stop.is_set() and not bad:
                name = names[opens[0] % 2]
                least = done[0]
                with open(b.path("two", name)) as f:
                    got = int(f.read())
                if got < least:
                    bad.append(f"{name} is {got}, {least} was acknowledged")
                opens[0] += 1
        except Exception as e:
            bad.append(repr(e))

    reader = threading.Thread(target=look)
    reader.start()
    n = 0
    try:
        # as many opens as swaps at the least, however the two share the processors
        while (n < 1000 or opens[0] < 1000) and n < 20000 and not bad:
            n += 1
            for name in names:
                if n % 2 == 0:
                    s3.put(f"/two/{name}", str(n))
                    continue
                with open(a.path("two", "new"), "w") as f:
                    f.write(str(n))
                if n % 4 == 1:
                    renameat2(a.path("two", "new"), a.path("two", name), RENAME_EXCHANGE)
                    os.unlink(a.path("two", "new"))  # not emptied: somebody may just have opened it
                else:
                    os.rename(a.path("two", "new"), a.path("two", name))
            # the two files themselves change places
            renameat2(a.path("two", "x"), a.path("two", "y"), RENAME_EXCHANGE)
            done[0] = n
    finally:
        stop.set()
        reader.join()
    eq(bad, [], "stale opens")
    print(f"# {opens[0]} opens amid {n} swaps")
    assert opens[0] >= 1000, f"only {opens[0]} opens"


def cached_pages(f):
    """How many pages of an open file the kernel has."""
    with mmap.mmap(f.fileno(), 0, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE) as m:
        n = (len(m) + mmap.PAGESIZE - 1) // mmap.PAGESIZE
        there = (ctypes.c_ubyte * n)()
        at = (ctypes.c_char * len(m)).from_buffer(m)
        rv = ctypes.CDLL(None, use_errno=True).mincore(ctypes.byref(at), ctypes.c_size_t(len(m)), there)
        del at
        assert rv == 0, os.strerror(ctypes.get_errno())
        return sum(b & 1 for b in there)


def own_writes_stay_cached(server, a, b):
    """The kernel keeps the pages of a new file; those of one that another mount wrote go."""
    size = 16 * mmap.PAGESIZE
    for name in ("own", "others"):
        with open(a.path("two", name), "xb") as f:
            f.write(b"1" * size)
    with open(a.path("two", "others"), "rb") as others:
        for i in range(3):  # what was to go in the first turn has gone in the last one
            others.seek(0)
            eq(others.read(), b"%d" % (i + 1) * size, "what is there")
            with open(b.path("two", "others"), "r+b") as f:
                f.write(b"%d" % (i + 2) * size)
            wait_for(
                "pages of what another mount wrote to go",
                lambda: os.fstat(others.fileno()) and cached_pages(others) == 0,
                10,
            )
    with open(a.path("two", "own"), "rb") as own:
        eq(cached_pages(own), 16, "pages of what this mount wrote")
    for name in ("own", "others"):
        os.unlink(a.path("two", name))


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
    for fn in (close_to_open, s3_and_mount, names_in_turn, directories_in_turn, within_a_directory_that_is_gone, a_file_that_the_kernel_knew, exchanges, own_writes_stay_cached, swapped_names, appends, server_gone, waits_through_a_restart):
        t.run(fn.__name__.replace("_", " "), fn, server, a, b)
    t.end()


main()
