#!/usr/bin/env python3
"""What POSIX says of names, attributes and bytes (tests/posix), on the mount."""

import errno
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
sys.path.insert(0, os.path.join(HERE, "..", "posix"))
import cases_names
import conform
from leo import *


def no_tmpfile(mount):
    """libfuse 3.14 does not hand it on. When this fails, its group can run."""
    try:
        os.open(mount.dir, os.O_TMPFILE | os.O_RDWR)
        raise AssertionError("O_TMPFILE works: run the group")
    except OSError as err:
        eq(err.errno, errno.EOPNOTSUPP, "O_TMPFILE")


# group -> what there is to see instead
NOT_YET = {"unnamed": no_tmpfile}


def group(fn, mount):
    if fn.__name__ in NOT_YET:
        NOT_YET[fn.__name__](mount)
        return
    c = conform.run_group(fn, mount.dir, other="/dev/shm")
    print(f"# {fn.__name__}: {c.n} assertions")
    for text in c.failed:
        print(f"#   {text}")
    assert not c.failed, f"{len(c.failed)} of {c.n} failed"


def read_only(server, mount):
    """Every call that changes something fails on a mount with ro."""
    d = mount.path("ro")
    os.mkdir(d)
    for kind in conform.TYPES:
        conform.Conform(d).make(kind, os.path.join(d, kind))
    os.mkdir(os.path.join(d, "dir", "empty"))
    ro = Mount(server, "/posix/ro", "ro,allow_other")
    p = ro.path
    calls = {
        "create": lambda: os.open(p("new"), os.O_CREAT | os.O_WRONLY),
        "open for writing": lambda: os.open(p("file"), os.O_RDWR),
        "O_TRUNC": lambda: os.open(p("file"), os.O_TRUNC),
        "mkdir": lambda: os.mkdir(p("new")),
        "mkfifo": lambda: os.mkfifo(p("new")),
        "symlink": lambda: os.symlink("t", p("new")),
        "link": lambda: os.link(p("file"), p("new")),
        "rename": lambda: os.rename(p("file"), p("new")),
        "unlink": lambda: os.unlink(p("file")),
        "rmdir": lambda: os.rmdir(p("dir", "empty")),
        "chmod": lambda: os.chmod(p("file"), 0o600),
        "chown": lambda: os.chown(p("file"), 1, 1),
        "truncate": lambda: os.truncate(p("file"), 1),
        "utimensat": lambda: os.utime(p("file")),
        "setxattr": lambda: os.setxattr(p("file"), "user.a", b""),
    }
    for name, call in calls.items():
        try:
            call()
            raise AssertionError(f"{name} works")
        except OSError as err:
            eq(err.errno, errno.EROFS, name)
    eq(sorted(os.listdir(p())), sorted(conform.TYPES), "listing")
    fd = os.open(p("fifo"), os.O_RDWR)  # a fifo is no byte of the disk
    os.close(fd)
    ro.umount()


def main():
    t = Tap()
    if os.geteuid() != 0:
        skip_all("other users: this needs root")
    server = Server()
    eq(server.s3().put("/posix").status, 200, "bucket")
    mount = t.mount(server, "/posix", "allow_other,dev,suid")
    # other users shall get that far
    os.chmod(os.path.dirname(mount.dir), 0o755)
    for fn in conform.all_groups():
        t.run(fn.__name__.replace("_", " "), group, fn, mount)
    t.run("read only", read_only, server, mount)
    mount.umount()
    t.run("clean end", server.stop)
    t.end()


main()
