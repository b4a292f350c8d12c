"""Names: paths, making, removing, renaming, linking."""

import errno
import os
import stat

from conform import *

E = errno


# --- every call that takes a path ---


def path_calls(c):
    """name -> (call of one path, whether it makes that name)"""
    good = c.make("file", os.path.join(c.dir(), "good"))
    spare = c.dir(0o777)
    count = [0]

    def fresh():
        count[0] += 1
        return os.path.join(spare, f"n{count[0]}")

    def fresh_file():
        path = fresh()
        touch(path)
        return path

    return {
        "open": (lambda p: os.close(os.open(p, os.O_RDONLY)), False),
        "create": (lambda p: os.close(os.open(p, os.O_CREAT | os.O_WRONLY)), True),
        "stat": (os.stat, False),
        "lstat": (os.lstat, False),
        "access": (lambda p: c_call("eaccess", os.fsencode(p), os.F_OK), False),
        "chmod": (lambda p: os.chmod(p, 0o600), False),
        "chown": (lambda p: os.chown(p, 1, 1), False),
        "lchown": (lambda p: os.lchown(p, 1, 1), False),
        "truncate": (lambda p: os.truncate(p, 5), False),
        "unlink": (os.unlink, False),
        "rmdir": (os.rmdir, False),
        "mkdir": (os.mkdir, True),
        "mkfifo": (os.mkfifo, True),
        "mknod char": (lambda p: os.mknod(p, stat.S_IFCHR, os.makedev(1, 3)), True),
        "mknod block": (lambda p: os.mknod(p, stat.S_IFBLK, os.makedev(7, 3)), True),
        "mknod socket": (lambda p: os.mknod(p, stat.S_IFSOCK), True),
        "symlink": (lambda p: os.symlink("t", p), True),
        "link from": (lambda p: os.link(p, fresh()), False),
        "link to": (lambda p: os.link(good, p), True),
        "rename from": (lambda p: os.rename(p, fresh()), False),
        "rename to": (lambda p: os.rename(fresh_file(), p), True),
        "readlink": (os.readlink, False),
        "utimensat": (lambda p: os.utime(p, (1, 1)), False),
        "chdir": (os.chdir, False),
        "opendir": (os.listdir, False),
        "statfs": (os.statvfs, False),
        "setxattr": (lambda p: os.setxattr(p, "user.a", b"1"), False),
        "getxattr": (lambda p: os.getxattr(p, "user.a"), False),
        "listxattr": (os.listxattr, False),
        "removexattr": (lambda p: os.removexattr(p, "user.a"), False),
    }


def prefixes(c):
    """Every call behind a path prefix that cannot be walked."""
    d = c.dir()
    for kind in TYPES:
        c.make(kind, os.path.join(d, kind))
    os.symlink("loop2", os.path.join(d, "loop1"))
    os.symlink("loop1", os.path.join(d, "loop2"))
    wrong = [(kind, E.ENOTDIR) for kind in TYPES if kind not in ("dir", "symlink")]
    wrong += [("symlink", E.ENOENT), ("missing", E.ENOENT), ("loop1", E.ELOOP)]
    wrong += [("x" * 256, E.ENAMETOOLONG)]
    for name, (call, _) in path_calls(c).items():
        for prefix, want in wrong:
            c.err(f"{name} below {prefix[:10]}", want, call, os.path.join(d, prefix, "a"))


def last_components(c):
    """Names that are too long, loops, and names that are not there."""
    d = c.dir()
    os.symlink("loop", os.path.join(d, "loop"))
    no_follow = {"lstat", "lchown", "unlink", "rmdir", "readlink", "rename from", "link from", "rename to"}
    for name, (call, makes) in path_calls(c).items():
        c.err(f"{name} of 256 bytes", E.ENAMETOOLONG, call, os.path.join(d, "y" * 256))
        c.err(f"{name} of 4096 bytes", E.ENAMETOOLONG, call, d + "/." * 2048)
        if not makes:
            c.err(f"{name} of nothing", E.ENOENT, call, os.path.join(d, "missing"))
            c.err(f"{name} of no path", E.ENOENT, call, "")
            if name not in no_follow:
                c.err(f"{name} of a loop", E.ELOOP, call, os.path.join(d, "loop"))
        elif name not in no_follow:
            want = E.ELOOP if name == "create" else E.EEXIST
            c.err(f"{name} of a loop", want, call, os.path.join(d, "loop"))


def no_search(c):
    """A directory on the way may not be searched."""
    d = c.dir(0o777)
    inner = os.path.join(d, "inner")
    os.mkdir(inner)
    c.make("file", os.path.join(inner, "f"), uid=ALICE, mode=0o666)
    os.chown(inner, ALICE, STAFF)
    calls = path_calls(c)
    for name, (call, makes) in calls.items():
        path = os.path.join(inner, "new" if makes else "f")
        os.chmod(inner, 0o644)
        with user(ALICE):
            c.err(f"{name} without search", E.EACCES, call, path)
    os.chmod(inner, 0o755)


def no_write(c):
    """A directory that may not be written: nothing is made or removed in it."""
    d = c.dir(0o555, ALICE, STAFF)
    f = c.make("file", os.path.join(d, "f"), uid=ALICE)
    sub = c.make("dir", os.path.join(d, "sub"), uid=ALICE)
    wide = c.dir(0o777)
    mine = c.make("file", os.path.join(wide, "mine"), uid=ALICE)
    new = os.path.join(d, "new")
    with user(ALICE):
        c.err("create", E.EACCES, os.open, new, os.O_CREAT | os.O_WRONLY)
        c.err("create of what is there", E.EEXIST, os.open, f, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        c.err("mkdir", E.EACCES, os.mkdir, new)
        c.err("mkfifo", E.EACCES, os.mkfifo, new)
        c.err("symlink", E.EACCES, os.symlink, "t", new)
        c.err("link", E.EACCES, os.link, mine, new)
        c.err("unlink", E.EACCES, os.unlink, f)
        c.err("rmdir", E.EACCES, os.rmdir, sub)
        c.err("rename out", E.EACCES, os.rename, f, os.path.join(wide, "f"))
        c.err("rename in", E.EACCES, os.rename, mine, new)
        c.err("rename over", E.EACCES, os.rename, mine, f)
        c.err("rename within", E.EACCES, os.rename, f, new)
    c.eq("nothing changed", sorted(os.listdir(d)), ["f", "sub"])


def components(c):
    """Names of all lengths and bytes, and that listings show just them."""
    d = os.fsencode(c.dir())
    names = [b"n" * n for n in (1, 2, 63, 127, 128, 254, 255)]
    names += [bytes([b]) + b"x" for b in range(1, 256) if b != 0x2F]
    names += [b"...", b"..x", b".hidden", b" ", b"\n", b"\xff\xfe", "äöü".encode(), b".%", b"%", b"a%2Fb"]
    shown = [n for n in names if not n.startswith(b".%")]
    for n in shown:
        c.ok(f"create {n[:10]!r}", touch, os.path.join(d, n))
        c.ok(f"stat {n[:10]!r}", os.stat, os.path.join(d, n))
    c.eq("listing", sorted(os.listdir(d)), sorted(set(shown)))
    for n in sorted(set(shown)):
        c.ok(f"unlink {n[:10]!r}", os.unlink, os.path.join(d, n))
    c.eq("empty listing", os.listdir(d), [])
    deep = os.path.join(c.dir(), *["p" * 200] * 3)
    c.ok("a deep path", os.makedirs, deep)
    longest = "/./" + "/" * (4095 - len(deep) - 4) + "f"
    c.ok("a path of 4095 bytes", touch, deep + longest)


# --- making ---

MAKERS = {
    "file": lambda p, mode: os.close(os.open(p, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)),
    "dir": os.mkdir,
    "fifo": os.mkfifo,
    "char": lambda p, mode: os.mknod(p, stat.S_IFCHR | mode, os.makedev(1, 3)),
    "block": lambda p, mode: os.mknod(p, stat.S_IFBLK | mode, os.makedev(1, 3)),
    "socket": lambda p, mode: os.mknod(p, stat.S_IFSOCK | mode),
    "mknod file": lambda p, mode: os.mknod(p, stat.S_IFREG | mode),
    "symlink": lambda p, mode: os.symlink("t", p),
}
IS_KIND = {
    "file": stat.S_ISREG, "mknod file": stat.S_ISREG, "dir": stat.S_ISDIR, "fifo": stat.S_ISFIFO,
    "char": stat.S_ISCHR, "block": stat.S_ISBLK, "socket": stat.S_ISSOCK, "symlink": stat.S_ISLNK,
}


def making(c):
    d = c.dir(0o777)
    for kind, make in MAKERS.items():
        for there in TYPES:
            p = c.make(there, os.path.join(c.dir(), "p"))
            c.err(f"{kind} over a {there}", E.EEXIST, make, p, 0o644)
        for mode in (0, 0o111, 0o222, 0o444, 0o644, 0o751, 0o777):
            for mask in (0, 0o022, 0o077, 0o777):
                if kind == "symlink":
                    continue
                p = os.path.join(d, f"{kind}{mode:o}{mask:o}")
                with umask(mask):
                    c.ok(f"{kind} {mode:o}", make, p, mode)
                st = os.lstat(p)
                c.eq(f"{kind} {mode:o} less {mask:o}", stat.S_IMODE(st.st_mode), mode & ~mask)
                c.true(f"{kind} is one", IS_KIND[kind](st.st_mode))
        with user(ALICE, STAFF):
            p = os.path.join(d, f"mine {kind}")
            if kind in ("char", "block"):
                c.err(f"{kind} by a user", E.EPERM, make, p, 0o600)
                continue
            c.ok(f"{kind} by a user", make, p, 0o600)
        st = os.lstat(p)
        c.eq(f"{kind}: owner", (st.st_uid, st.st_gid), (ALICE, STAFF))
        c.eq(f"{kind}: links", st.st_nlink, 2 if kind == "dir" else 1)
        c.eq(f"{kind}: size", st.st_size if kind != "dir" else 0, 1 if kind == "symlink" else 0)


def making_times(c):
    for kind, make in MAKERS.items():
        d = c.dir()
        links = os.stat(d).st_nlink
        p = os.path.join(d, "new")
        before = time.time_ns() - 50_000_000
        c.changes(f"{kind}: directory", d, make, p, 0o644, mtime=True)
        st = os.lstat(p)
        c.true(f"{kind}: times are now", min(st.st_atime_ns, st.st_mtime_ns, st.st_ctime_ns) > before)
        c.eq(f"{kind}: links of the directory", os.stat(d).st_nlink, links + (kind == "dir"))

        def again():
            try:
                make(p, 0o644)
            except FileExistsError:
                pass

        c.changes(f"{kind} refused: directory", d, again, ctime=False)
        c.changes(f"{kind} refused: what is there", p, again, ctime=False)


def set_gid_directories(c):
    d = c.dir(0o2777, ALICE, OTHERS)
    for kind, make in MAKERS.items():
        if kind in ("char", "block"):
            continue
        p = os.path.join(d, kind)
        with user(BOB, STAFF):
            make(p, 0o755)
        st = os.lstat(p)
        c.eq(f"{kind}: group of the directory", (st.st_uid, st.st_gid), (BOB, OTHERS))
        c.eq(f"{kind}: set-gid", bool(st.st_mode & stat.S_ISGID), kind == "dir")


def devices(c):
    d = c.dir()
    for kind, bit in (("char", stat.S_IFCHR), ("block", stat.S_IFBLK)):
        for major, minor in ((0, 0), (1, 3), (8, 255), (4095, 1048575), (259, 70000)):
            p = os.path.join(d, f"{kind}{major}.{minor}")
            c.ok(f"{kind} {major},{minor}", os.mknod, p, bit | 0o600, os.makedev(major, minor))
            c.eq(f"rdev {major},{minor}", os.lstat(p).st_rdev, os.makedev(major, minor))
            os.link(p, p + "l")
            os.rename(p, p + "r")
            c.eq("rdev after rename", os.lstat(p + "l").st_rdev, os.makedev(major, minor))
    p = c.make("char", os.path.join(d, "null"), 0o666)
    os.unlink(p)
    os.mknod(p, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    if os.statvfs(d).f_flag & os.ST_NODEV:
        c.err("open on nodev", E.EACCES, os.open, p, os.O_RDONLY)
    else:
        fd = c.ok("open /dev/null's twin", os.open, p, os.O_RDWR)
        c.eq("write to it", os.write(fd, b"gone"), 4)
        c.eq("read of it", os.read(fd, 4), b"")
        os.close(fd)


# --- removing ---


def removing(c):
    for kind in TYPES:
        d = c.dir()
        links = os.stat(d).st_nlink
        p = c.make(kind, os.path.join(d, "p"))
        if kind == "dir":
            c.err("unlink of a directory", E.EISDIR, os.unlink, p)
            c.changes("rmdir: directory", d, os.rmdir, p, mtime=True)
        else:
            c.err(f"rmdir of a {kind}", E.ENOTDIR, os.rmdir, p)
            c.changes(f"unlink {kind}: directory", d, os.unlink, p, mtime=True)
        c.err(f"{kind} is gone", E.ENOENT, os.lstat, p)
        c.eq(f"{kind}: links of the directory", os.stat(d).st_nlink, links)
        if kind == "dir":
            continue
        p, q = c.make(kind, p), os.path.join(d, "q")
        os.link(p, q)
        c.changes(f"unlink {kind}: other link", q, os.unlink, p)
        c.eq(f"{kind}: links left", os.lstat(q).st_nlink, 1)


def rmdir_of(c):
    for kind in TYPES:
        d = c.dir()
        inner = os.path.join(d, "inner")
        os.mkdir(inner)
        c.make(kind, os.path.join(inner, "x"))
        c.err(f"rmdir with a {kind}", (E.ENOTEMPTY, E.EEXIST), os.rmdir, inner)
        c.changes("refused rmdir", d, lambda: None, ctime=False)
    d = c.dir()
    os.mkdir(os.path.join(d, "a"))
    c.err("rmdir .", E.EINVAL, os.rmdir, os.path.join(d, "a/."))
    c.err("rmdir ..", (E.ENOTEMPTY, E.EEXIST), os.rmdir, os.path.join(d, "a/.."))
    c.err("rmdir of a symlink", E.ENOTDIR, os.rmdir, c.make("symlink", os.path.join(d, "s")))
    os.chdir(os.path.join(d, "a"))
    os.rmdir(os.path.join(d, "a"))
    c.eq("listing of a removed directory", os.listdir("."), [])
    c.err("create in it", E.ENOENT, os.open, "f", os.O_CREAT | os.O_WRONLY)
    c.err("mkdir in it", E.ENOENT, os.mkdir, "f")
    c.eq("its links", os.stat(".").st_nlink, 0)
    os.chdir("/")


def open_unlinked(c):
    d = c.dir()
    for how in ("unlink", "rename over"):
        p = os.path.join(d, how)
        fd = os.open(p, os.O_CREAT | os.O_RDWR)
        os.write(fd, b"before")
        if how == "unlink":
            os.unlink(p)
        else:
            write_file(p + "2", b"other")
            os.rename(p + "2", p)
        c.eq(f"{how}: links", os.fstat(fd).st_nlink, 0)
        c.eq(f"{how}: bytes", os.pread(fd, 10, 0), b"before")
        c.eq(f"{how}: write", os.pwrite(fd, b"after.", 6), 6)
        c.eq(f"{how}: read", os.pread(fd, 20, 0), b"beforeafter.")
        c.ok(f"{how}: truncate", os.ftruncate, fd, 3)
        c.ok(f"{how}: chmod", os.fchmod, fd, 0o600)
        c.eq(f"{how}: size", os.fstat(fd).st_size, 3)
        c.ok(f"{how}: fsync", os.fsync, fd)
        copy = c.ok(f"{how}: again by /proc", os.open, f"/proc/self/fd/{fd}", os.O_RDONLY)
        if copy is not None:
            c.eq(f"{how}: through it", os.read(copy, 9), b"bef")
            os.close(copy)
        os.close(fd)
    c.eq("what is left", os.listdir(d), ["rename over"])


def sticky(c):
    """Who may take names out of a sticky directory."""
    for dir_uid in (ALICE, BOB):
        for file_uid in (ALICE, BOB):
            for caller in (ALICE, BOB, 0):
                for kind in TYPES:
                    d = c.dir(0o1777, dir_uid, STAFF)
                    wide = c.dir(0o777)
                    p = c.make(kind, os.path.join(d, "p"), uid=file_uid, mode=0o777)
                    q = c.make(kind, os.path.join(wide, "q"), uid=caller, mode=0o777)
                    allowed = caller in (0, dir_uid, file_uid)
                    what = f"{kind} of {file_uid} in {dir_uid}'s by {caller}"
                    remove = os.rmdir if kind == "dir" else os.unlink
                    with user(caller):
                        c.either(f"rename over {what}", allowed, (E.EPERM, E.EACCES), os.rename, q, p)
                        if allowed:
                            # what lies there now is the caller's
                            c.ok(f"remove {what}", remove, p)
                        else:
                            c.err(f"remove {what}", (E.EPERM, E.EACCES), remove, p)
                            c.err(f"rename {what}", (E.EPERM, E.EACCES), os.rename, p, os.path.join(wide, "r"))


# --- renaming and linking ---


def renaming(c):
    for a in TYPES:
        for b in TYPES + [None]:
            d = c.dir()
            p, q = os.path.join(d, "p"), os.path.join(d, "q")
            c.make(a, p)
            ino = os.lstat(p).st_ino
            if b is not None:
                c.make(b, q)
            what = f"rename {a} over {b}"
            if b == "dir" and a != "dir":
                c.err(what, E.EISDIR, os.rename, p, q)
            elif a == "dir" and b not in ("dir", None):
                c.err(what, E.ENOTDIR, os.rename, p, q)
            else:
                c.err(f"{what}, NOREPLACE", E.EEXIST, renameat2, p, q, RENAME_NOREPLACE) if b else None
                c.changes(f"{what}: directory", d, os.rename, p, q, mtime=True)
                c.eq(f"{what}: inode", os.lstat(q).st_ino, ino)
                c.eq(f"{what}: names", os.listdir(d), ["q"])
                continue
            c.eq(f"{what}: names", sorted(os.listdir(d)), ["p", "q"])


def renaming_directories(c):
    d = c.dir()
    for path in ("a/b/c", "x"):
        os.makedirs(os.path.join(d, path))
    p = lambda *parts: os.path.join(d, *parts)
    for name in "yz":
        os.mkdir(p(name))
        touch(p(name, "f"))
    # what is known of these is of just now, from the names made in them
    times = lambda names: [os.stat(p(name)).st_ctime_ns for name in names]
    before = times("yz")
    c.tick(p("z"))
    c.ok("exchange", renameat2, p("y"), p("z"), RENAME_EXCHANGE)
    c.true("exchange moves the times of both", all(a < b for a, b in zip(before, times("zy"))))
    touch(p("y/g"))
    c.changes("a directory just written to", p("y"), lambda: (os.rename(p("y"), p("w")), os.rename(p("w"), p("y"))))
    for name in ("y/f", "y/g", "z/f"):
        os.unlink(p(name))
    for name in "yz":
        os.rmdir(p(name))
    c.err("into itself", E.EINVAL, os.rename, p("a"), p("a/b/d"))
    c.err("over its parent", (E.ENOTEMPTY, E.EEXIST), os.rename, p("a/b"), p("a"))
    c.err("over a full one", (E.ENOTEMPTY, E.EEXIST), os.rename, p("x"), p("a"))
    c.err(".", (E.EBUSY, E.EINVAL), os.rename, p("a/."), p("y"))
    c.err("..", (E.EBUSY, E.EINVAL), os.rename, p("a/.."), p("y"))
    c.err("to .", (E.EBUSY, E.EINVAL, E.EEXIST), os.rename, p("x"), p("a/."))
    links = os.stat(d).st_nlink, os.stat(p("x")).st_nlink
    c.ok("under another parent", os.rename, p("a/b"), p("x/b"))
    c.eq("links of both", (os.stat(p("a")).st_nlink, os.stat(p("x")).st_nlink), (2, links[1] + 1))
    c.eq("its ..", os.stat(p("x/b/..")).st_ino, os.stat(p("x")).st_ino)
    c.eq("what is in it", os.listdir(p("x/b")), ["c"])
    c.ok("over an empty one", os.rename, p("x"), p("a"))
    c.eq("the tree", [os.path.relpath(t[0], d) for t in os.walk(d)], [".", "a", "a/b", "a/b/c"])
    c.eq("links of the top", os.stat(d).st_nlink, links[0] - 1)
    os.chdir(p("a/b"))
    os.rename(p("a"), p("z"))
    c.eq("getcwd follows", os.getcwd(), os.path.realpath(p("z/b")))
    os.chdir("/")
    # a directory changes its parent: its own ".." is written
    wide, mine = c.dir(0o777), c.dir(0o777)
    sub = c.make("dir", os.path.join(wide, "sub"), uid=ALICE, mode=0o555)
    locked = c.make("dir", os.path.join(wide, "locked"), uid=BOB, mode=0o755)
    with user(ALICE):
        c.err("without write permission on it", E.EACCES, os.rename, locked, os.path.join(mine, "l"))
        c.err("its own without write permission", E.EACCES, os.rename, sub, os.path.join(mine, "s"))
        c.ok("within the parent", os.rename, locked, os.path.join(wide, "locked2"))


def renaming_files(c):
    d = c.dir()
    p, q = os.path.join(d, "p"), os.path.join(d, "q")
    write_file(p, b"one")
    os.link(p, q)
    c.ok("over a link of itself", os.rename, p, q)
    c.eq("both stay", sorted(os.listdir(d)), ["p", "q"])
    c.ok("over itself", os.rename, p, p)
    os.unlink(q)
    write_file(q, b"two")
    os.link(q, q + "2")
    c.changes("rename: the file", p, lambda: (os.rename(p, q), os.rename(q, p)))
    write_file(q, b"three")
    c.changes("rename over: the loser's other link", q + "2", lambda: os.rename(p, q), ctime=False)
    os.link(q, q + "3")
    write_file(p, b"four")
    c.changes("rename over: the loser", q + "3", os.rename, p, q)
    c.eq("bytes", (read_file(q), read_file(q + "2"), read_file(q + "3")), (b"four", b"two", b"one"))
    if c.other:
        away = os.path.join(c.other, f"conform{os.getpid()}")
        c.err("to another file system", E.EXDEV, os.rename, q, away)
        c.err("link to another file system", E.EXDEV, os.link, q, away)


def exchange(c):
    d = c.dir()
    p, q = os.path.join(d, "p"), os.path.join(d, "sub", "q")
    os.mkdir(os.path.join(d, "sub"))
    c.err("of nothing", E.ENOENT, renameat2, p, q, RENAME_EXCHANGE)
    for a in TYPES:
        for b in TYPES:
            c.make(a, p)
            c.make(b, q)
            c.err("with NOREPLACE", E.EINVAL, renameat2, p, q, RENAME_EXCHANGE | RENAME_NOREPLACE)
            inos = os.lstat(p).st_ino, os.lstat(q).st_ino
            c.ok(f"{a} and {b}", renameat2, p, q, RENAME_EXCHANGE)
            c.eq(f"{a} and {b}: inodes", (os.lstat(q).st_ino, os.lstat(p).st_ino), inos)
            links = os.stat(d).st_nlink, os.stat(os.path.dirname(q)).st_nlink
            c.eq(f"{a} and {b}: links", links, (3 + (b == "dir"), 2 + (a == "dir")))
            os.rmdir(q) if a == "dir" else os.unlink(q)
            os.rmdir(p) if b == "dir" else os.unlink(p)
    os.makedirs(os.path.join(d, "x/y"))
    c.err("with what is below", E.EINVAL, renameat2, os.path.join(d, "x"), os.path.join(d, "x/y"), RENAME_EXCHANGE)


def linking(c):
    for kind in TYPES:
        d = c.dir()
        p, q = c.make(kind, os.path.join(d, "p"), 0o640, ALICE, STAFF), os.path.join(d, "q")
        if kind == "dir":
            c.err("link of a directory", E.EPERM, os.link, p, q)
            continue
        c.changes(f"link {kind}: directory", d, os.link, p, q, mtime=True)
        a, b = os.lstat(p), os.lstat(q)
        c.eq(f"{kind}: same", a, b)
        c.eq(f"{kind}: links", a.st_nlink, 2)
        c.changes(f"link {kind}: the inode", p, os.link, q, q + "2")
        c.err(f"link {kind} again", E.EEXIST, os.link, p, q)
        if kind != "symlink":
            os.chmod(q, 0o600)
            c.eq(f"{kind}: one mode", stat.S_IMODE(os.lstat(p).st_mode), 0o600)
        for there in TYPES:
            t = c.make(there, os.path.join(d, there))
            c.err(f"link {kind} over {there}", E.EEXIST, os.link, p, t)
    d = c.dir()
    fd = os.open(os.path.join(d, "f"), os.O_CREAT | os.O_RDWR)
    os.unlink(os.path.join(d, "f"))
    c.err("link of what has no name", E.ENOENT, link_fd, fd, os.path.join(d, "g"))
    os.close(fd)


def symlinks(c):
    d = c.dir()
    for n in (1, 60, 255, 4095):
        p = os.path.join(d, f"s{n}")
        c.ok(f"target of {n}", os.symlink, "t" * n, p)
        c.eq(f"readlink of {n}", os.readlink(p), "t" * n)
        c.eq(f"size of {n}", os.lstat(p).st_size, n)
    c.err("target of 4096", E.ENAMETOOLONG, os.symlink, "t" * 4096, os.path.join(d, "s4096"))
    c.err("no target", E.ENOENT, os.symlink, "", os.path.join(d, "empty"))
    write_file(os.path.join(d, "f"), b"bytes")
    os.symlink("f", os.path.join(d, "to f"))
    c.eq("followed", read_file(os.path.join(d, "to f")), b"bytes")
    os.mkdir(os.path.join(d, "sub"))
    os.symlink("../f", os.path.join(d, "sub/up"))
    c.eq("relative to where it lies", read_file(os.path.join(d, "sub/up")), b"bytes")
    os.symlink("new", os.path.join(d, "dangling"))
    c.err("O_EXCL on a dangling one", E.EEXIST, os.open, os.path.join(d, "dangling"), os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    c.ok("O_CREAT through it", touch, os.path.join(d, "dangling"))
    c.true("made its target", os.path.isfile(os.path.join(d, "new")))
    for i in range(45):
        os.symlink("f" if i == 0 else f"chain{i - 1}", os.path.join(d, f"chain{i}"))
    c.ok("39 links", os.stat, os.path.join(d, "chain38"))
    c.err("45 links", E.ELOOP, os.stat, os.path.join(d, "chain44"))
    for kind in TYPES:
        if kind != "symlink":
            c.err(f"readlink of a {kind}", E.EINVAL, os.readlink, c.make(kind, os.path.join(d, kind)))


GROUPS = [
    prefixes, last_components, no_search, no_write, components, making, making_times, set_gid_directories,
    devices, removing, rmdir_of, open_unlinked, sticky, renaming, renaming_directories, renaming_files,
    exchange, linking, symlinks,
]
