#!/usr/bin/env python3
"""The thin thread: PUT, GET, ls, cat, kill -9, restart; in every shape."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from leo import *


def curl(server, *args):
    access, secret = server.credentials()
    return run(
        "curl", "-sS", "-K", "-", "--aws-sigv4", f"aws:amz:{REGION}:s3", *args,
        stdin=f'user = "{access}:{secret}"\n',
    ).stdout


def thread(loops, shape):
    server = Server(loops=loops, shape=shape)
    eq(curl(server, "-X", "PUT", "-w", "%{http_code}", f"{server.endpoint}/first"), "200", "bucket")
    small = os.path.join(server.base, "small")
    big = os.path.join(server.base, "big")
    with open(small, "w") as f:
        f.write("hello, both doors\n")
    with open(big, "wb") as f:
        f.write(os.urandom(9 * 1024 * 1024 + 17))
    for name, path in (("dir/small", small), ("big", big)):
        code = curl(server, "-T", path, "-w", "%{http_code}", f"{server.endpoint}/first/{name}")
        eq(code, "200", f"PUT {name}")
    out = os.path.join(server.base, "out")
    curl(server, "-o", out, f"{server.endpoint}/first/big")
    run("cmp", big, out)
    mount = Mount(server)
    eq(sorted(os.listdir(mount.path("first"))), ["big", "dir"], "ls")
    with open(mount.path("first", "dir", "small")) as f:
        eq(f.read(), "hello, both doors\n", "cat")
    run("cmp", big, mount.path("first", "big"))
    with open(mount.path("first", "from-mount"), "w") as f:
        f.write("written by the mount\n")
    eq(curl(server, f"{server.endpoint}/first/from-mount"), "written by the mount\n", "S3 sees it")

    server.kill()
    server.start()
    eq(server.s3().list("first"), [b"big", b"dir/small", b"from-mount"], "LIST after kill -9")
    curl(server, "-o", out, f"{server.endpoint}/first/big")
    run("cmp", big, out)
    with open(mount.path("first", "dir", "small")) as f:
        eq(f.read(), "hello, both doors\n", "cat after restart")
    mount.umount()
    took = server.stop()
    if took > 2.5 * SLOW:
        raise AssertionError(f"SIGTERM took {took:.1f} s")


def main():
    t = Tap()
    only = os.environ.get("LEO_THREAD_SHAPES", "1 3 daemons").split()
    if "1" in only:
        t.run("server, 1 loop", thread, 1, "server")
    if "3" in only:
        t.run("server, 3 loops", thread, 3, "server")
    if "daemons" in only:
        t.run("separate daemons", thread, 2, "daemons")
    t.end()


main()
