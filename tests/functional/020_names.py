#!/usr/bin/env python3
"""Odd names through both doors: coexistence, escapes, order, long and strange keys."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from leo import *

KEYS = [
    b"a", b"a/", b"a/b", b"a//b", b"a!", b"a-b/c", b".x", b"./d", b"../e", "ü".encode(),
    b"x" * 300, b"y" * 1024, b"dir/" + b"z" * 250, b"sp ace+plus%25", b"tab\tkey", b"a0",
    b".%odd", b"/lead", b"t/", b"n/.%/m",
]


def gone(path):
    """What S3 removed; the kernel may keep a name for entry_timeout (1 s)."""
    wait_for(f"{path} to be gone", lambda: not os.path.exists(path), 5)


def keys_round_trip(server, mount):
    s3 = server.s3()
    eq(s3.put("/names").status, 200, "bucket")
    for key in KEYS:
        body = b"" if key.endswith(b"/") else b"body of " + key
        r = s3.put(b"/names/" + key, body)
        eq(r.status, 200, f"PUT {key!r} {r}")
    for key in KEYS:
        r = s3.get(b"/names/" + key)
        eq(r.status, 200, f"GET {key!r} {r}")
        if not key.endswith(b"/"):
            eq(r.body, b"body of " + key, f"GET {key!r}")
    eq(s3.list("names"), sorted(KEYS), "LIST in byte order")
    eq(s3.list("names", max_keys=3), sorted(KEYS), "LIST in pages of 3")
    eq(s3.put(b"/names/" + b"k" * 1025, b"x").code(), "KeyTooLongError", "1025 bytes")


def mount_sees_all(server, mount):
    """Every object can be read through the mount, under its name or its escape."""
    want = sorted(b"body of " + k for k in KEYS if not k.endswith(b"/"))
    got = []
    for dirpath, dirs, files in os.walk(os.fsencode(mount.path("names"))):
        for name in files:
            with open(os.path.join(dirpath, name), "rb") as f:
                data = f.read()
            if data:
                got.append(data)
    eq(sorted(got), want, "contents through the mount")
    top = os.listdir(os.fsencode(mount.path("names")))
    assert b".%fa" in top, top  # file a, shadowed by directory a
    assert b"a" in top and os.path.isdir(mount.path("names", "a"))
    assert b".%d%2E" in top and b".%d%2E%2E" in top, top
    assert b".%f%2E%25odd" in top, top


def needless_escape(server, mount):
    try:
        os.stat(mount.path("names", ".%fa%21"))
    except FileNotFoundError:
        pass
    else:
        raise AssertionError("a needless escape was accepted")


def mount_names_in_s3(server, mount):
    os.makedirs(mount.path("names", "posix", "sub"))
    for name in ("A", "b-", "b", "ü", "with space", "new\nline"):
        with open(mount.path("names", "posix", name), "w") as f:
            f.write(name)
    os.mkdir(mount.path("names", "posix", "b2"))
    os.symlink("target", mount.path("names", "posix", "sym"))
    s3 = server.s3()
    want = sorted(
        ("posix/" + n).encode()
        for n in ("A", "b-", "b", "ü", "with space", "new\nline", "b2/", "sub/", "sym")
    )
    eq(s3.list("names", prefix="posix/"), want, "made by the mount")
    for name in ("A", "b-", "b", "ü", "with space", "new\nline"):
        eq(s3.get(f"/names/posix/{name}").body, name.encode(), name)
    eq(s3.list("names", prefix="posix/", delimiter="/"), want, "with delimiter")
    eq(s3.get("/names/posix/b2/").status, 200, "an empty directory is a key")
    eq(s3.delete("/names/posix/b2/").status, 204, "DELETE of it")
    gone(mount.path("names", "posix", "b2"))


def rm_r_of_all(server, mount):
    run("rm", "-rf", "--", *[mount.path("names", n) for n in os.listdir(mount.path("names"))])
    eq(server.s3().list("names"), [], "nothing left after rm -r")


def implicit_directories(server, mount):
    s3 = server.s3()
    s3.put("/names/i/j/k", b"1")
    assert os.path.isdir(mount.path("names", "i", "j"))
    s3.delete("/names/i/j/k")
    gone(mount.path("names", "i"))  # implicit directories go with the last key
    s3.put("/names/i/j/k", b"1")
    os.chmod(mount.path("names", "i", "j"), 0o755)
    s3.delete("/names/i/j/k")
    assert os.path.isdir(mount.path("names", "i", "j")), "a directory that was touched stays"
    os.rmdir(mount.path("names", "i", "j"))


def main():
    server = Server(spread=1)
    t = Tap()
    mount = Mount.if_any(server)
    t.run("keys round trip in S3", keys_round_trip, server, mount)
    for fn in (mount_sees_all, needless_escape, mount_names_in_s3, rm_r_of_all, implicit_directories):
        if mount is not None:
            t.run(fn.__name__.replace("_", " "), fn, server, mount)
    t.end()


main()
