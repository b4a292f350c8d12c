#!/usr/bin/env python3
"""quickstart.sh: start, second run, kill -9, stop, ports in use; as a newcomer."""

import os
import shlex
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from leo import *

RUN = os.path.join(TOP, "run")


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
        start = time.monotonic()
        quickstart(*ports)
        assert time.monotonic() - start < 10 * SLOW, "the second run takes seconds"
        for pid in env["LEOFS_PIDS"].split():
            os.kill(int(pid), signal.SIGKILL)
        quickstart(*ports)
        assert "running" in quickstart("--status").stdout
    finally:
        quickstart("--stop")
    eq(quickstart("--status", check=False).returncode, 1, "stopped")
    assert not any(f" {RUN}/mnt " in line for line in open("/proc/self/mountinfo"))


def port_in_use(data):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen(1)
        port = s.getsockname()[1]
        p = quickstart("--s3-port", port, "--admin-port", free_port(), "--data", data, check=False)
    assert p.returncode != 0 and str(port) in p.stderr, p.stderr
    eq(quickstart("--status", check=False).returncode, 1, "nothing half-started")


def main():
    t = Tap()
    if os.path.exists(os.path.join(RUN, "server.pid")):
        t.run("quickstart", lambda: (_ for _ in ()).throw(Skip("a quick start of yours is running")))
        t.end()
    data = os.path.join(tmpdir(), "data")
    t.run("start, second run, kill -9, stop", life, data)
    t.run("port in use", port_in_use, data)
    t.end()


main()
