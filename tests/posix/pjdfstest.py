#!/usr/bin/env python3
"""pjdfstest (github.com/pjd/pjdfstest), all groups, on a mount of this tree.

    tests/posix/pjdfstest.py DIRECTORY [--fs NAME] [--jobs N] [GROUP...]

DIRECTORY is its source with `pjdfstest` built in it; it is not part of this
tree. Needs root and prove (perl); where something is missing it says so and
ends with 0. Lines with the counts and the suite's commit at the end; the whole
output is in build-nightly/pjdfstest.out.

The directory it works in has no set-group-ID bit, which what S3 makes has: the
suite expects new files to have the group of their maker.

The suite asks whether rename changes a file's ctime (29 assertions) only of file
systems that it knows by name, and it does not know ours: so its configuration
says ext4 (--fs, as its tests/conf provides for). Without that it asks 8,798 of
its 8,827 assertions (at 85a8aea of 2026-08-07).
"""

import argparse
import os
import re
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from leo import *


def skip(why):
    print(f"# summary: skipped, {why}")
    sys.exit(0)


def suite(directory, fs):
    """A copy whose configuration names that file system; the commit it is of."""
    where = os.path.abspath(directory)
    if os.geteuid() != 0 or shutil.which("prove") is None:
        skip("needs root and prove (perl)")
    if not os.access(os.path.join(where, "pjdfstest"), os.X_OK):
        skip(f"there is no program pjdfstest in {where}")
    copy = os.path.join(tmpdir(), "pjdfstest")
    os.chmod(os.path.dirname(copy), 0o755)  # it runs as others, too
    os.mkdir(copy)
    shutil.copy(os.path.join(where, "pjdfstest"), copy)
    shutil.copytree(os.path.join(where, "tests"), os.path.join(copy, "tests"))
    conf = os.path.join(copy, "tests", "conf")
    with open(conf) as f:
        text = f.read()
    assert '\n#fs="UFS"\n' in text, f"{conf} has no line to name the file system in"
    with open(conf, "w") as f:
        f.write(text.replace('\n#fs="UFS"\n', f'\nfs="{fs}"\n'))
    p = run("git", "-C", where, "log", "-1", "--format=%h of %cs", check=False)
    return copy, p.stdout.strip() or "of an unknown commit"


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("directory")
    p.add_argument("--fs", default="EXT4")
    p.add_argument("--jobs", type=int, default=os.cpu_count())
    p.add_argument("groups", nargs="*")
    args = p.parse_args()
    where, commit = suite(args.directory, args.fs)
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
    print(f"# summary: {counts.group(0) if counts else 'no counts'}, {text.strip().splitlines()[-1]}")
    print(f"# summary: the suite {commit}, asked as {args.fs}", flush=True)
    shutil.rmtree(top)
    mount.umount()
    server.stop()
    sys.exit(got.returncode or (0 if counts else 1))


main()
