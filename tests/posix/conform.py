"""What POSIX and Linux say that a file system does, as tables of cases.

A group is a function of one Conform; each case calls the kernel and compares
the errno, or what it sees afterwards. Groups run as root in one process, which
takes on other users for single calls. The same tables hold on ext4:

    python3 tests/posix/conform.py DIRECTORY [GROUP...]
"""

import contextlib
import ctypes
import errno
import os
import reprlib
import shutil
import stat
import sys
import time
import traceback

TYPES = ["file", "dir", "fifo", "block", "char", "socket", "symlink"]
# users of nobody: owner, one of the same group, another one
ALICE, BOB, CAROL = 65501, 65502, 65503
STAFF, OTHERS = 65510, 65511

libc = ctypes.CDLL(None, use_errno=True)


def c_call(name, *args):
    """A function of the C library that Python has no name for."""
    rv = getattr(libc, name)(*args)
    if rv == -1:
        err = ctypes.get_errno()
        raise OSError(err, os.strerror(err))
    return rv


RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2


def renameat2(a, b, flags):
    return c_call("renameat2", -100, os.fsencode(a), -100, os.fsencode(b), ctypes.c_uint(flags))


def fallocate(fd, mode, off, length):
    return c_call("fallocate", fd, mode, ctypes.c_int64(off), ctypes.c_int64(length))


def link_fd(fd, path):
    """Gives what is open as fd a name, as the manual of open(2) says."""
    AT_SYMLINK_FOLLOW = 0x400
    return c_call("linkat", -100, b"/proc/self/fd/%d" % fd, -100, os.fsencode(path), AT_SYMLINK_FOLLOW)


@contextlib.contextmanager
def user(uid, gid=STAFF, groups=()):
    os.setgroups(list(groups))
    os.setegid(gid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups([])


@contextlib.contextmanager
def umask(mask):
    old = os.umask(mask)
    try:
        yield
    finally:
        os.umask(old)


class Conform:
    """
    Where cases run (top), and what came out of them. other: a directory on
    another file system, or None. large_xattrs: values of 64 KiB (ext4: not).
    """

    def __init__(self, top, other=None, large_xattrs=True):
        self.top = top
        self.other = other
        self.large_xattrs = large_xattrs
        self.n = 0
        self.failed = []
        self.count = 0
        os.chmod(top, 0o755)

    # --- places and things ---

    def dir(self, mode=0o755, uid=0, gid=0):
        """A fresh directory."""
        self.count += 1
        path = os.path.join(self.top, f"d{self.count}")
        os.mkdir(path)
        os.chown(path, uid, gid)
        os.chmod(path, mode)
        return path

    def make(self, kind, path, mode=0o644, uid=0, gid=0):
        if kind == "file":
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        elif kind == "dir":
            os.mkdir(path)
        elif kind == "fifo":
            os.mkfifo(path)
        elif kind in ("block", "char"):
            os.mknod(path, (stat.S_IFBLK if kind == "block" else stat.S_IFCHR), os.makedev(1, 7))
        elif kind == "socket":
            os.mknod(path, stat.S_IFSOCK)
        else:
            os.symlink("target", path)
        if kind != "symlink":
            os.chmod(path, mode)
        os.lchown(path, uid, gid)
        return path

    def tick(self, path):
        """Waits until a change can be told from the last one of path."""
        last = os.lstat(path).st_ctime_ns
        while time.time_ns() <= last + 20_000_000:
            time.sleep(0.005)

    # --- judging ---

    def note(self, what, good, text):
        self.n += 1
        if not good:
            self.failed.append(f"{what}: {text}")

    def eq(self, what, got, want):
        good = got == want
        self.note(what, good, "" if good else f"got {reprlib.repr(got)}, should be {reprlib.repr(want)}")

    def true(self, what, good):
        self.note(what, bool(good), "is not so")

    def ok(self, what, fn, *args, **kw):
        """The call must work; returns what it returned, None when it failed."""
        try:
            got = fn(*args, **kw)
        except OSError as err:
            self.note(what, False, f"got {errno.errorcode.get(err.errno)}")
            return None
        self.note(what, True, "")
        return got

    def err(self, what, want, fn, *args, **kw):
        """The call must fail with one of want (an errno or several)."""
        want = want if isinstance(want, tuple) else (want,)
        names = "/".join(errno.errorcode[w] for w in want)
        try:
            got = fn(*args, **kw)
        except OSError as err:
            name = errno.errorcode.get(err.errno)
            self.note(what, err.errno in want, f"got {name}, should be {names}")
            return
        if isinstance(got, int) and getattr(fn, "__name__", "") == "open":
            os.close(got)
        self.note(what, False, f"works, should be {names}")

    def either(self, what, allowed, want, fn, *args, **kw):
        if allowed:
            return self.ok(what, fn, *args, **kw)
        return self.err(what, want, fn, *args, **kw)

    def changes(self, what, path, fn, *args, ctime=True, mtime=False):
        """fn must (True), must not (False) move the times of path."""
        self.tick(path)
        before = os.lstat(path)
        try:
            fn(*args)
        except OSError as err:
            self.note(what, False, f"got {errno.errorcode.get(err.errno)}")
            return
        after = os.lstat(path)
        self.eq(f"{what}: ctime moves", after.st_ctime_ns > before.st_ctime_ns, ctime)
        self.eq(f"{what}: mtime moves", after.st_mtime_ns > before.st_mtime_ns, mtime)


def touch(path):
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644))


def write_file(path, data):
    fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o644)
    os.write(fd, data)
    os.close(fd)


def read_file(path):
    with open(path, "rb", buffering=0) as f:
        return f.read()


def all_groups():
    import cases_attrs
    import cases_data
    import cases_names

    return cases_names.GROUPS + cases_attrs.GROUPS + cases_data.GROUPS


def run_group(fn, top, **about):
    """Runs one group in a directory of its own; returns its Conform."""
    here = os.path.join(top, fn.__name__)
    os.mkdir(here)
    c = Conform(here, **about)
    try:
        with umask(0o022):
            fn(c)
    except Exception as err:
        line = traceback.extract_tb(err.__traceback__)[-1]
        where = [f for f in traceback.extract_tb(err.__traceback__) if "cases_" in f.filename][-1]
        c.note(f"line {where.lineno}, {line.name}", False, f"ends the group: {err}")
    os.chdir("/")
    shutil.rmtree(here)
    return c


def main():
    top = sys.argv[1]
    bad = total = 0
    other = "/dev/shm" if os.stat("/dev/shm").st_dev != os.stat(top).st_dev else None
    for fn in all_groups():
        if sys.argv[2:] and fn.__name__ not in sys.argv[2:]:
            continue
        start = time.monotonic()
        c = run_group(fn, top, other=other, large_xattrs=False)
        total += c.n
        bad += len(c.failed)
        print(f"{fn.__name__:<20} {c.n:5} {len(c.failed):4} failed {time.monotonic() - start:6.1f} s")
        for text in c.failed:
            print(f"    {text}")
    print(f"{total} assertions, {bad} failed")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    sys.modules["conform"] = sys.modules["__main__"]
    main()
