"""Attributes: mode, owner, times, permissions, extended attributes."""

import errno
import os
import stat

from conform import *

E = errno


# --- mode ---


def chmod(c):
    d = c.dir()
    for kind in TYPES:
        if kind == "symlink":
            continue
        p = c.make(kind, os.path.join(d, kind))
        for mode in range(0, 0o10000, 0o123 if kind != "file" else 0o7):
            c.ok(f"chmod {kind}", os.chmod, p, mode)
            c.eq(f"mode of {kind}", stat.S_IMODE(os.lstat(p).st_mode), mode)
        os.symlink(kind, p + "l")
        c.ok("through a symlink", os.chmod, p + "l", 0o640)
        c.eq("mode of its target", stat.S_IMODE(os.lstat(p).st_mode), 0o640)
        c.changes(f"chmod {kind}", p, os.chmod, p, 0o600)
        os.chown(p, ALICE, STAFF)

        def refused():
            with user(BOB):
                c.err(f"chmod {kind} of another", E.EPERM, os.chmod, p, 0o777)

        c.changes(f"refused chmod {kind}", p, refused, ctime=False)
        c.eq("mode stays", stat.S_IMODE(os.lstat(p).st_mode), 0o600)
        with user(ALICE):
            c.ok(f"chmod {kind} of one's own", os.chmod, p, 0o2711)
        c.eq("set-gid of an own group", stat.S_IMODE(os.lstat(p).st_mode), 0o2711)
        os.chown(p, ALICE, OTHERS)
        with user(ALICE):
            c.ok(f"chmod {kind} of a foreign group", os.chmod, p, 0o2711)
        c.eq("set-gid of a foreign group", stat.S_IMODE(os.lstat(p).st_mode), 0o711)
    fd = os.open(os.path.join(d, "file"), os.O_RDONLY)
    c.ok("fchmod", os.fchmod, fd, 0o751)
    c.eq("mode by fchmod", stat.S_IMODE(os.fstat(fd).st_mode), 0o751)
    os.close(fd)


# --- owner ---


def chown(c):
    d = c.dir()
    for kind in TYPES:
        p = c.make(kind, os.path.join(d, kind), uid=ALICE, gid=STAFF)
        own = lambda: (os.lstat(p).st_uid, os.lstat(p).st_gid)
        for uid, gid, want in ((1, 2, (1, 2)), (3, -1, (3, 2)), (-1, 4, (3, 4)), (-1, -1, (3, 4)),
                               (2**32 - 2, 2**31, (2**32 - 2, 2**31))):
            c.ok(f"{kind}: chown {uid} {gid}", os.lchown, p, uid, gid)
            c.eq(f"{kind}: owner after {uid} {gid}", own(), want)
        os.lchown(p, ALICE, STAFF)
        c.changes(f"{kind}: chown", p, os.lchown, p, BOB, OTHERS)
        os.lchown(p, ALICE, STAFF)
        with user(ALICE, STAFF, [OTHERS]):
            c.err(f"{kind}: give away", E.EPERM, os.lchown, p, BOB, -1)
            c.err(f"{kind}: to a foreign group", E.EPERM, os.lchown, p, -1, 12345)
            c.ok(f"{kind}: to an own group", os.lchown, p, -1, OTHERS)
            c.ok(f"{kind}: to oneself", os.lchown, p, ALICE, STAFF)
        with user(BOB, STAFF, [OTHERS]):
            c.err(f"{kind}: of another", E.EPERM, os.lchown, p, BOB, STAFF)
            c.err(f"{kind}: group of another's", E.EPERM, os.lchown, p, -1, OTHERS)
        c.eq(f"{kind}: owner stays", own(), (ALICE, STAFF))


def set_id_bits(c):
    """Who changes bytes or owner takes set-id bits away."""
    p = os.path.join(c.dir(0o777), "f")

    def after(mode, caller, fn):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(p)
        c.make("file", p, uid=ALICE, gid=STAFF)
        write_file(p, b"some bytes")
        os.chmod(p, mode)
        with user(caller):
            fn()
        return stat.S_IMODE(os.lstat(p).st_mode)

    def append():
        fd = os.open(p, os.O_WRONLY | os.O_APPEND)
        os.write(fd, b"x")
        os.close(fd)

    def write():
        fd = os.open(p, os.O_WRONLY)
        os.pwrite(fd, b"x", 2)
        os.close(fd)

    for mode in (0o4777, 0o2777, 0o6777, 0o6767, 0o6766, 0o4666):
        kept = mode & 0o777 if mode & stat.S_IXGRP else mode & 0o2777
        for name, fn in (("write", write), ("append", append), ("truncate", lambda: os.truncate(p, 1))):
            got = after(mode, CAROL, fn)
            if mode & stat.S_IXGRP:
                c.eq(f"{name} {mode:o} by another", got, kept)
            else:
                # a set-gid file that no group may run: both are in use
                c.true(f"{name} {mode:o} by another", got & ~0o2000 == kept & ~0o2000)
        c.eq(f"chown {mode:o} by root", after(mode, 0, lambda: os.chown(p, BOB, STAFF)), kept)
        c.eq(f"write {mode:o} by root", after(mode, 0, write), mode)
        c.eq(f"chmod {mode:o} leaves them", after(0o777, ALICE, lambda: os.chmod(p, mode)), mode)
    for mode in (0o6755, 0o2755):
        c.eq(f"chgrp {mode:o} by its owner", after(mode, ALICE, lambda: os.chown(p, -1, STAFF)), 0o755)
    d = c.dir(0o6755, ALICE, STAFF)
    os.chown(d, BOB, OTHERS)
    c.eq("a directory keeps them", stat.S_IMODE(os.stat(d).st_mode), 0o6755)


# --- times ---


def times(c):
    d = c.dir()
    values = [0, 1, 999_999_999, 1_000_000_000, 1_234_567_890_123_456_789, 2**31 * 10**9, 2**32 * 10**9 + 7,
              2**33 * 10**9 + 999_999_999, -1, -1_000_000_001]
    for kind in TYPES:
        p = c.make(kind, os.path.join(d, kind))
        put = lambda ns: os.utime(p, ns=ns, follow_symlinks=False)
        for a in values:
            for m in (values[4], a):
                c.ok(f"{kind}: utimens", put, (a, m))
                st = os.lstat(p)
                c.eq(f"{kind}: times", (st.st_atime_ns, st.st_mtime_ns), (a, m))
        c.tick(p)
        before = time.time_ns() - 20_000_000
        put((5, 6))
        c.true(f"{kind}: utimens moves ctime", os.lstat(p).st_ctime_ns >= before)
        os.utime(p, follow_symlinks=False)
        st = os.lstat(p)
        c.true(f"{kind}: now", min(st.st_atime_ns, st.st_mtime_ns) >= before)
    os.symlink("file", os.path.join(d, "link"))
    os.utime(os.path.join(d, "link"), ns=(7, 8))
    c.eq("through a symlink", os.stat(os.path.join(d, "file")).st_mtime_ns, 8)


class Timespec(ctypes.Structure):
    _fields_ = [("sec", ctypes.c_long), ("nsec", ctypes.c_long)]


NOW, OMIT = (1 << 30) - 1, (1 << 30) - 2


def utimensat(path, a, m, fd=-100):
    both = (Timespec * 2)(Timespec(*a), Timespec(*m))
    return c_call("utimensat", fd, os.fsencode(path), both, 0)


def times_rights(c):
    d = c.dir(0o777)
    p = c.make("file", os.path.join(d, "f"), 0o644, ALICE)
    get = lambda: (os.stat(p).st_atime_ns, os.stat(p).st_mtime_ns)
    os.utime(p, ns=(10, 20))
    utimensat(p, (0, OMIT), (1, 5))
    c.eq("OMIT atime", get(), (10, 10**9 + 5))
    utimensat(p, (2, 6), (0, OMIT))
    c.eq("OMIT mtime", get(), (2 * 10**9 + 6, 10**9 + 5))
    c.changes("OMIT both", p, utimensat, p, (0, OMIT), (0, OMIT), ctime=False)
    utimensat(p, (0, NOW), (3, 3))
    c.true("NOW atime alone", get()[0] > 10**18 and get()[1] == 3 * 10**9 + 3)
    c.err("a bad nsec", E.EINVAL, utimensat, p, (0, 10**9), (0, 0))
    for mode in (0o600, 0o620, 0o606, 0o666, 0o644):
        os.chmod(p, mode)
        for caller in (ALICE, BOB, CAROL, 0):
            gid = OTHERS if caller == CAROL else 0
            writes = caller in (0, ALICE) or mode & (0o002 if caller == CAROL else 0o020)
            os.chown(p, ALICE, STAFF)
            with user(caller, STAFF if caller != CAROL else OTHERS):
                c.either(f"NOW {mode:o} by {caller}", writes, E.EACCES, utimensat, p, (0, NOW), (0, NOW))
                c.either(f"set {mode:o} by {caller}", caller in (0, ALICE), E.EPERM, utimensat, p, (1, 1), (1, 1))
                c.either(f"half {mode:o} by {caller}", caller in (0, ALICE), E.EPERM, utimensat, p, (0, NOW), (1, 1))
                c.ok(f"OMIT {mode:o} by {caller}", utimensat, p, (0, OMIT), (0, OMIT))


def times_of_bytes(c):
    p = os.path.join(c.dir(), "f")
    write_file(p, b"12345678")
    fd = os.open(p, os.O_RDWR)
    c.changes("write", p, lambda: (os.pwrite(fd, b"x", 0), os.fsync(fd)), mtime=True)
    c.changes("write of nothing", p, os.write, fd, b"", ctime=False)
    c.changes("ftruncate", p, os.ftruncate, fd, 3, mtime=True)
    c.changes("truncate", p, os.truncate, p, 5, mtime=True)
    c.changes("read", p, os.pread, fd, 5, 0, ctime=False)
    c.changes("open", p, read_file, p, ctime=False)
    c.changes("O_TRUNC", p, write_file, p, b"", mtime=True)
    c.changes("O_TRUNC of an empty file", p, write_file, p, b"", mtime=True)
    c.changes("fsync", p, os.fsync, fd, ctime=False)
    os.close(fd)


# --- permissions ---


def open_rights(c):
    """Every class against every bit, for files and directories."""
    d = c.dir(0o777)
    for kind in ("file", "dir", "fifo"):
        p = c.make(kind, os.path.join(d, kind), uid=ALICE, gid=STAFF)
        for bits in range(8):
            for shift, caller, gid in ((6, ALICE, OTHERS), (3, BOB, STAFF), (0, CAROL, OTHERS)):
                # the other classes may do the opposite
                os.chmod(p, (0o777 & ~(7 << shift)) | bits << shift)
                what = f"{kind} {bits:o} of class {shift // 3}"
                with user(caller, gid):
                    for want, name in ((4, "r"), (2, "w"), (1, "x"), (6, "rw"), (7, "rwx")):
                        c.eq(f"access {name} {what}", os.access(p, want, effective_ids=True), bits & want == want)
                    if kind == "dir":
                        c.either(f"list {what}", bits & 4, E.EACCES, os.listdir, p)
                        c.either(f"enter {what}", bits & 1, E.EACCES, os.chdir, p)
                        c.either(f"make in {what}", bits & 3 == 3, E.EACCES, os.mkdir, os.path.join(p, "x"))
                    else:
                        for flag, want in ((os.O_RDONLY, 4), (os.O_RDWR, 6)):
                            c.either(f"open {flag} {what}", bits & want == want, E.EACCES, open_close, p, flag)
                    if kind == "file":
                        c.either(f"write {what}", bits & 2, E.EACCES, open_close, p, os.O_WRONLY)
                        c.either(f"cut {what}", bits & 2, E.EACCES, os.truncate, p, 0)
                        c.either(f"O_TRUNC {what}", bits & 6 == 6, E.EACCES, open_close, p, os.O_RDWR | os.O_TRUNC)
                os.chdir("/")
                if kind == "dir":
                    with contextlib.suppress(FileNotFoundError):
                        os.rmdir(os.path.join(p, "x"))
    # a further group counts as the group
    os.chmod(os.path.join(d, "file"), 0o060)
    os.chown(os.path.join(d, "file"), 0, 4711)
    with user(BOB, STAFF, [4711]):
        c.ok("by a further group", open_close, os.path.join(d, "file"), os.O_RDWR)


def open_close(p, flags):
    os.close(os.open(p, flags | os.O_NONBLOCK))


# --- extended attributes ---


def xattrs(c):
    d = c.dir()
    for kind in ("file", "dir"):
        p = c.make(kind, os.path.join(d, kind))
        for name in ("user.a", "user." + "n" * 250, "trusted.t", "security.s"):
            for size in (0, 1, 255, 4096, 65536) if c.large_xattrs else (0, 1, 255):
                c.ok(f"{kind}: set {name[:12]} {size}", os.setxattr, p, name, b"v" * size)
                c.eq(f"{kind}: get {name[:12]} {size}", c.ok("get", os.getxattr, p, name), b"v" * size)
            c.err(f"{kind}: CREATE {name[:12]}", E.EEXIST, os.setxattr, p, name, b"", os.XATTR_CREATE)
            c.ok(f"{kind}: REPLACE {name[:12]}", os.setxattr, p, name, b"r", os.XATTR_REPLACE)
            c.true(f"{kind}: listed {name[:12]}", name in os.listxattr(p))
        c.err(f"{kind}: REPLACE of nothing", E.ENODATA, os.setxattr, p, "user.b", b"", os.XATTR_REPLACE)
        c.err(f"{kind}: get of nothing", E.ENODATA, os.getxattr, p, "user.b")
        c.err(f"{kind}: remove of nothing", E.ENODATA, os.removexattr, p, "user.b")
        c.err(f"{kind}: value of 65537", E.E2BIG, os.setxattr, p, "user.c", b"v" * 65537)
        c.err(f"{kind}: name of 256", E.ERANGE, os.setxattr, p, "user." + "n" * 251, b"")
        c.err(f"{kind}: no name space", E.EOPNOTSUPP, os.setxattr, p, "other.a", b"")
        c.changes(f"{kind}: set", p, os.setxattr, p, "user.z", b"1")
        c.changes(f"{kind}: remove", p, os.removexattr, p, "user.z")
        small = ctypes.create_string_buffer(1)
        os.setxattr(p, "user.long", b"12345")
        c.err(f"{kind}: a short buffer", E.ERANGE, c_call, "getxattr", os.fsencode(p), b"user.long", small, 1)
        c.eq(f"{kind}: length alone", c_call("getxattr", os.fsencode(p), b"user.long", None, 0), 5)
        for name in os.listxattr(p):
            c.ok(f"{kind}: remove {name[:12]}", os.removexattr, p, name)
        c.eq(f"{kind}: none left", os.listxattr(p), [])
        os.chown(p, ALICE, STAFF)
        os.chmod(p, 0o644 if kind == "file" else 0o755)
        with user(BOB):
            c.err(f"{kind}: set by another", E.EACCES, os.setxattr, p, "user.a", b"")
        with user(ALICE):
            c.ok(f"{kind}: set by its owner", os.setxattr, p, "user.a", b"1")
            c.err(f"{kind}: trusted by a user", (E.EPERM, E.ENODATA), os.setxattr, p, "trusted.a", b"1")
    for kind in ("fifo", "char", "socket", "symlink"):
        p = c.make(kind, os.path.join(d, kind))
        c.err(f"{kind}: user.*", E.EPERM, os.setxattr, p, "user.a", b"1", follow_symlinks=False)
        c.ok(f"{kind}: trusted.*", os.setxattr, p, "trusted.a", b"1", follow_symlinks=False)
    many = 100 if c.large_xattrs else 10
    for i in range(many):
        os.setxattr(os.path.join(d, "file"), f"user.many{i}", str(i).encode())
    c.eq("many", len([n for n in os.listxattr(os.path.join(d, "file")) if "many" in n]), many)


GROUPS = [chmod, chown, set_id_bits, times, times_rights, times_of_bytes, open_rights, xattrs]
