#!/usr/bin/env python3
"""Random operations on one file (tests/posix/exercise): plain, mmap, two mounts in turn."""

import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from leo import *

EXERCISE = os.path.join(BUILD, "tests", "posix", "exercise")
# of each kind of run; tests/nightly.tab: a million
OPS = int(os.environ.get("LEO_EXERCISE_OPS", "2500"))


def exercise(seed, mounts, *options):
    paths = [m.path("file") for m in mounts]
    cmd = [EXERCISE, "-s", seed, "-n", OPS, *options, *paths]
    p = subprocess.run([str(c) for c in cmd], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    for line in p.stdout.splitlines():
        print(line if line.startswith("#") else f"#   {line}")
    eq(p.returncode, 0, " ".join(map(str, cmd)))


def same_in_s3(server, mounts):
    with open(mounts[0].path("file"), "rb") as f:
        data = f.read()
    got = server.s3().get("/exercise/file")
    eq((got.status, got.body == data), (200, True), "what S3 says of the file")


def main():
    seed = seed_from_argv()
    t = Tap()
    server = Server()
    eq(server.s3().put("/exercise").status, 200, "bucket")
    mounts = [t.mount(server, "/exercise"), t.mount(server, "/exercise")]
    runs = [
        ("plain", mounts[:1], []),
        ("with mmap", mounts[:1], ["-m"]),
        ("O_DIRECT", mounts[:1], ["-D"]),
        ("a file of 4 KiB", mounts[:1], ["-m", "-l", "4096"]),
        ("a file of 80 MiB", mounts[:1], ["-l", str(80 << 20), "-n", str(max(OPS // 25, 1))]),
        ("two mounts", mounts, ["-m"]),
        ("two mounts, O_DIRECT", mounts, ["-m", "-D"]),
    ]
    for i, (name, where, options) in enumerate(runs):
        t.run(name, exercise, seed + i, where, *options)
        t.run(f"{name}: S3", same_in_s3, server, mounts)
    for m in mounts:
        m.umount()
    t.run("clean end", server.stop)
    t.end()


main()
