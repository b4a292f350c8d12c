#!/usr/bin/env python3
"""Sessions end: of mounts that died, and of one that comes back too late."""

import errno
import http.client
import json
import os
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from leo import *

LEASE = 1.0


def sessions(server, kind="mount"):
    """Over HTTP: a child process would close files of a mount that is stopped."""
    with open(os.path.join(server.data, "admin.token")) as f:
        token = f.read().strip()
    c = http.client.HTTPConnection("127.0.0.1", server.admin_port, timeout=10)
    c.request("GET", "/v1/sessions", headers={"Authorization": f"Bearer {token}"})
    answer = json.loads(c.getresponse().read())
    c.close()
    return [s for s in answer["sessions"] if s["kind"] == kind]


def error_of(fn):
    try:
        fn()
    except OSError as err:
        return err.errno
    return 0


def shown(server, mount):
    one = sessions(server)
    eq(len(one), 1, "one mount")
    eq(one[0]["state"], "alive", "its state")
    assert one[0]["host"] == os.uname().nodename, one
    eq(len(sessions(server, "gateway")), 1, "one gateway")
    text = server.adm("get-sessions").stdout
    assert "mount" in text and "gateway" in text, text


def renewed(server, mount):
    """Far longer than a lease, and still the same."""
    before = sessions(server)
    with open(mount.path("renewed"), "w") as f:
        f.write("x")
        end = time.monotonic() + 4 * LEASE
        while time.monotonic() < end:
            eq([s["session"] for s in sessions(server)], [s["session"] for s in before], "session")
            time.sleep(LEASE / 4)
        f.write("y")
    eq(server.s3().get("/ses/renewed").body, b"xy", "written through it")


def dies(server, mount):
    """A mount that is killed is gone after two leases; others stay."""
    other = Mount(server, "/ses")
    fd = os.open(other.path("kept"), os.O_RDWR | os.O_CREAT)
    os.write(fd, os.urandom(100000))
    os.fsync(fd)
    os.unlink(other.path("kept"))
    eq(len(sessions(server)), 2, "two mounts")
    other.kill()
    error_of(lambda: os.close(fd))
    wait_for("the end of its session", lambda: len(sessions(server)) == 1, 20)
    with open(mount.path("after"), "w") as f:
        f.write("fine")
    eq(server.s3().get("/ses/after").body, b"fine", "the other one works")


def comes_back(server, mount):
    """Stopped for longer than its session lives: honest errors, then all works."""
    m = Mount(server, "/ses")
    named = os.open(m.path("named"), os.O_RDWR | os.O_CREAT)
    lost = os.open(m.path("lost"), os.O_RDWR | os.O_CREAT)
    os.write(named, b"before")
    os.write(lost, b"before")
    os.fsync(named)
    os.fsync(lost)
    os.unlink(m.path("lost"))
    old = max(s["session"] for s in sessions(server))
    os.kill(m.proc.pid, signal.SIGSTOP)
    try:
        wait_for("the end of its session", lambda: len(sessions(server)) == 1, 20)
    finally:
        os.kill(m.proc.pid, signal.SIGCONT)
    os.pwrite(named, b"behind", 6)
    os.fsync(named)
    eq(os.pread(named, 100, 0), b"beforebehind", "the named file")
    wait_for("its new session", lambda: len(sessions(server)) == 2, 20)
    assert max(s["session"] for s in sessions(server)) > old

    def gone():
        os.pwrite(lost, b"x", 0)
        os.fsync(lost)

    assert error_of(gone) in (errno.ESTALE, errno.EIO), "the file without a name is gone"
    os.close(lost)
    os.close(named)
    with open(m.path("new"), "w") as f:
        f.write("new")
    eq(server.s3().get("/ses/new").body, b"new", "a new file")
    eq(server.s3().get("/ses/named").body, b"beforebehind", "what S3 sees")
    m.umount()


def server_away(server, mount):
    """Managers away for long: nothing expires by that."""
    fd = os.open(mount.path("held"), os.O_RDWR | os.O_CREAT)
    os.write(fd, b"held")
    os.fsync(fd)
    os.unlink(mount.path("held"))
    before = [s["session"] for s in sessions(server)]
    server.kill()
    time.sleep(3 * LEASE)
    server.start()
    eq(os.pread(fd, 10, 0), b"held", "held over the restart")
    eq([s["session"] for s in sessions(server)], before, "the same session")
    os.pwrite(fd, b"more", 4)
    os.fsync(fd)
    eq(os.pread(fd, 10, 0), b"heldmore", "still there")
    os.close(fd)


def grace(server, mount):
    """What a dead mount held open without a name is kept for opens.grace after a start, and no longer."""
    seconds = 4
    own = Server(extra=sets(session__lease=LEASE, opens__grace=seconds))
    eq(own.s3().put("/ses").status, 200, "the bucket")
    m = Mount(own, "/ses")
    fd = os.open(m.path("held"), os.O_RDWR | os.O_CREAT)
    os.write(fd, b"held")
    os.fsync(fd)
    os.unlink(m.path("held"))
    own.kill()
    m.kill()
    error_of(lambda: os.close(fd))

    def held():
        return own.adm_json("fsck")["counts"]["open"]

    begin = time.monotonic()
    own.start()
    eq(held(), 1, "held open after the start")
    wait_for("the end of the grace", lambda: held() == 0, seconds + 4)
    took = time.monotonic() - begin
    assert took >= seconds, f"gone after {took:.1f} s"
    own.stop()
    p = run(LEOFS, "server", "--data", own.data, *sets(opens__grace=0.5), check=False)
    eq(p.returncode, 2, "half a second")
    assert "opens.grace: 500ms is not in 1s to 1h" in p.stderr, p.stderr


def sets(**seconds):
    out = []
    for name, value in seconds.items():
        out += ["--set", f"{name.replace('__', '.')}={int(value * 1000)}ms"]
    return out


def main():
    tap = Tap()
    server = Server(extra=sets(session__lease=LEASE))
    eq(server.s3().put("/ses").status, 200, "the bucket")
    mount = tap.mount(server, "/ses")
    for test in (shown, renewed, dies, comes_back, server_away, grace):
        tap.run(test.__name__, test, server, mount)
    mount.umount()
    server.stop()
    tap.end()


main()
