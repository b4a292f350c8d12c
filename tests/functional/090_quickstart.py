#!/usr/bin/env python3
"""quickstart.sh: start, second run, kill -9, stop, ports in use; as a newcomer."""

import fcntl
import os
import shlex
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from leo import *

RUN = os.path.join(TOP, "run")


def alone():
    """One at a time in a checkout, which has one run/: two suites may run in it."""
    fd = os.open(TOP, os.O_RDONLY)

    def locked():
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            return False

    wait_for("the quick start of another suite in this checkout", locked, 60)
    return fd  # ends with the process


def quickstart(*args, check=True):
    return run(os.path.join(TOP, "quickstart.sh"), *args, check=check, timeout=600)


def environment():
    out = {}
    with open(os.path.join(RUN, "quickstart.env")) as f:
        for line in f:
            if "=" in line and not line.startswith("export"):
                k, v = line.strip().split("=", 1)
                out[k] = shlex.split(v)[0]
    return out


def is_gone(pid):
    """What ended and was not waited for has no locks and no mounts."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def server_dies(env, ports):
    """Its mount goes on with the next server, and so do the files that are open there."""
    server, mount = [int(pid) for pid in env["LEOFS_PIDS"].split()]
    with open(os.path.join(env["LEOFS_MOUNT"], "demo", "open"), "w+b", buffering=0) as f:
        f.write(b"before")
        os.fsync(f.fileno())
        os.kill(server, signal.SIGKILL)
        wait_for("its end", lambda: is_gone(server))
        quickstart(*ports)
        f.write(b" and after")
        os.fsync(f.fileno())
        eq(os.pread(f.fileno(), 100, 0), b"before and after", "the open file")
    env = environment()
    eq(int(env["LEOFS_PIDS"].split()[1]), mount, "the same mount")
    return env


def life(data):
    s3_port, admin_port = free_port(), free_port()
    ports = ["--s3-port", s3_port, "--admin-port", admin_port, "--data", data]
    try:
        quickstart(*ports)
        env = environment()
        eq(env["LEOFS_S3_ENDPOINT"], f"http://127.0.0.1:{s3_port}", "endpoint")
        if os.path.exists("/dev/fuse"):
            with open(os.path.join(env["LEOFS_MOUNT"], "demo", "hello.txt")) as f:
                assert "hello" in f.read()
        else:
            leave_out("its mount", "no /dev/fuse here")
        start = time.monotonic()
        quickstart(*ports)
        assert time.monotonic() - start < 10 * SLOW, "the second run takes seconds"
        if "LEOFS_MOUNT" in env:
            env = server_dies(env, ports)
        pids = [int(pid) for pid in env["LEOFS_PIDS"].split()]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        wait_for("their end", lambda: all(is_gone(pid) for pid in pids))
        fsck_of(data)
        quickstart(*ports)
        assert "running" in quickstart("--status").stdout
    finally:
        quickstart("--stop")
    eq(quickstart("--status", check=False).returncode, 1, "stopped")
    assert not any(f" {RUN}/mnt " in line for line in open("/proc/self/mountinfo"))
    fsck_of(data)


def port_in_use(data):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen(1)
        port = s.getsockname()[1]
        p = quickstart("--s3-port", port, "--admin-port", free_port(), "--data", data, check=False)
    assert p.returncode != 0 and str(port) in p.stderr, p.stderr
    eq(quickstart("--status", check=False).returncode, 1, "nothing half-started")


def port_of_another_store(data):
    """Answers as ours does, but is not ours."""
    other = Server()
    p = quickstart("--s3-port", other.port, "--admin-port", free_port(), "--data", data, check=False)
    assert p.returncode != 0 and f"cannot listen on 127.0.0.1:{other.port}" in p.stderr, p.stderr
    other.stop()


def late_failure(data):
    """What was started is stopped again when the first file cannot be stored."""
    s3_port = free_port()
    args = ["--s3-port", s3_port, "--admin-port", free_port(), "--data", data]
    quickstart(*args)
    quickstart("--stop")
    with open(os.path.join(data, "credentials")) as f:
        text = f.read()
    with open(os.path.join(data, "credentials"), "w") as f:
        f.write(text.replace("secret_access_key = ", "secret_access_key = x"))
    try:
        p = quickstart(*args, check=False)
        assert p.returncode != 0 and "storing a file" in p.stderr, p.stderr
        eq(quickstart("--status", check=False).returncode, 1, "not running")
        with socket.socket() as s:
            assert s.connect_ex(("127.0.0.1", s3_port)) != 0, "the server still listens"
        assert not any(f" {RUN}/mnt " in line for line in open("/proc/self/mountinfo"))
    finally:
        quickstart("--stop")
    fsck_of(data)


def full_disk(base):
    if os.geteuid() != 0:
        raise Skip("needs root to mount a small disk")
    os.mkdir(base)
    p = run("mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", base, check=False)
    if p.returncode != 0:
        raise Skip(f"cannot mount here: {p.stderr.strip()}")
    try:
        with open(os.path.join(base, "fill"), "wb") as f:
            f.write(bytes(30 << 20))
        p = quickstart("--s3-port", free_port(), "--admin-port", free_port(), "--data",
                       os.path.join(base, "d"), check=False)
        assert p.returncode != 0 and "is full" in p.stderr, p.stderr
        eq(os.listdir(os.path.join(base, "d")), [], "nothing half-started")
        eq(quickstart("--status", check=False).returncode, 1, "not running")
    finally:
        run("umount", base)


def bad_ports():
    for port in ("0", "65536", "x", "-1"):
        p = quickstart("--s3-port", port, check=False)
        assert p.returncode != 0 and port in p.stderr, p.stderr


def main():
    t = Tap()
    lock = alone()
    if os.path.exists(os.path.join(RUN, "server.pid")):
        skip_all("a quick start of yours is running")
    data = os.path.join(tmpdir(), "data")
    t.run("start, second run, kill -9, stop", life, data)
    t.run("port in use", port_in_use, data)
    t.run("port of another store", port_of_another_store, data)
    t.run("late failure", late_failure, os.path.join(tmpdir(), "late"))
    t.run("full disk", full_disk, os.path.join(tmpdir(), "small"))
    t.run("bad ports", bad_ports)
    os.close(lock)
    t.end()


main()
