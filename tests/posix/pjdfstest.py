#!/usr/bin/env python3
"""pjdfstest (github.com/pjd/pjdfstest), all groups, on a mount of this tree.

    tests/posix/pjdfstest.py DIRECTORY [--jobs N] [GROUP...]

DIRECTORY is its source with `pjdfstest` built in it; it is not part of this
tree. Needs root and prove (perl). One line with the counts at the end; the
whole output is in build-nightly/pjdfstest.out.

The directory it works in has no set-group-ID bit, which what S3 makes has: the
suite expects new files to have the group of their maker.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from leo import *


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("directory")
    p.add_argument("--jobs", type=int, default=os.cpu_count())
    p.add_argument("groups", nargs="*")
    args = p.parse_args()
    where = os.path.abspath(args.directory)
    if os.geteuid() != 0 or shutil.which("prove") is None or not os.access(os.path.join(where, "pjdfstest"), os.X_OK):
        p.error(f"needs root, prove, and the program pjdfstest in {where}")
    server = Server()
    eq(server.s3().put("/pjdfstest").status, 200, "bucket")
    mount = Mount(server, "/pjdfstest", "allow_other")
    top = mount.path("top")
    os.mkdir(top)
    os.chmod(top, 0o755)
    tests = [os.path.join(where, "tests", g) for g in args.groups or ["."]]
    out = os.path.join(TOP, "build-nightly", "pjdfstest.out")
    os.makedirs(os.path.dirname(out), exist_ok=True)
    with open(out, "w") as f:
        got = subprocess.run(["prove", "-r", f"-j{args.jobs}", *tests], cwd=top, stdout=f, stderr=subprocess.STDOUT)
    with open(out) as f:
        text = f.read()
    counts = re.search(r"^Files=\d+, Tests=\d+", text, re.M)
    for line in re.findall(r"^.*(?:Failed|not ok).*$", text, re.M):
        print(f"# {line}")
    print(f"# summary: {counts.group(0) if counts else 'no counts'}, {text.strip().splitlines()[-1]}", flush=True)
    shutil.rmtree(top)
    mount.umount()
    server.stop()
    server.fsck()
    sys.exit(got.returncode)


main()
