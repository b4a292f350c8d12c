#!/usr/bin/env python3
"""Ordinary programs inside the mount."""

import os
import sqlite3
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from leo import *


def git_work(mount, base):
    src = os.path.join(base, "repo")
    run("git", "init", "-q", src)
    g = ["git", "-c", "user.name=t", "-c", "user.email=t@example.invalid", "-C"]
    for i in range(60):
        os.makedirs(os.path.join(src, f"d{i % 7}"), exist_ok=True)
        with open(os.path.join(src, f"d{i % 7}", f"f{i}"), "w") as f:
            f.write(f"file {i}\n" * i)
    run(*g, src, "add", ".")
    run(*g, src, "commit", "-qm", "first")
    clone = mount.path("work", "clone")
    run("git", "clone", "-q", "--no-hardlinks", src, clone)
    run("git", "-C", clone, "fsck", "--strict")
    with open(os.path.join(clone, "d1", "new"), "w") as f:
        f.write("new\n")
    run(*g, clone, "add", ".")
    run(*g, clone, "commit", "-qm", "second")
    run(*g, clone, "gc", "-q")
    run("git", "-C", clone, "fsck", "--strict")
    eq(run("git", "-C", clone, "status", "--porcelain").stdout, "", "clean")


def make_j4(mount, base):
    d = mount.path("work", "cproj")
    os.mkdir(d)
    names = [f"m{i}" for i in range(8)]
    for n in names:
        with open(os.path.join(d, n + ".c"), "w") as f:
            f.write(f"int {n}(void) {{ return 1; }}\n")
    with open(os.path.join(d, "main.c"), "w") as f:
        f.write("".join(f"int {n}(void);\n" for n in names))
        f.write("int main(void) { return " + "+".join(n + "()" for n in names) + " - 8; }\n")
    with open(os.path.join(d, "Makefile"), "w") as f:
        f.write("OBJ = main.o " + " ".join(n + ".o" for n in names) + "\n")
        f.write("prog: $(OBJ)\n\t$(CC) -o $@ $(OBJ)\n")
    run("make", "-s", "-j4", "-C", d)
    run(os.path.join(d, "prog"))


def sqlite_work(mount, base):
    path = mount.path("work", "db.sqlite")
    db = sqlite3.connect(path)
    db.execute("pragma synchronous=full")
    db.execute("create table t (k integer primary key, v text)")
    for i in range(30):
        with db:
            db.execute("insert into t values (?, ?)", (i, "v" * (i * 50)))
    with db:
        db.executemany("insert into t values (?, ?)", [(i, "w" * 200) for i in range(100, 2000)])
    with db:
        db.execute("delete from t where k % 3 = 0")
    db.execute("vacuum")
    db.close()
    db = sqlite3.connect(path)
    eq(db.execute("pragma integrity_check").fetchone()[0], "ok", "integrity")
    eq(db.execute("select count(*) from t").fetchone()[0], 1287, "rows")
    db.close()


def copies(mount, base):
    src = os.path.join(base, "tree")
    os.makedirs(os.path.join(src, "sub", "deep"))
    for i in range(80):
        with open(os.path.join(src, "sub" if i % 2 else ".", f"f{i}"), "wb") as f:
            f.write(os.urandom(i * 997))
    os.symlink("sub/f1", os.path.join(src, "link"))
    os.link(os.path.join(src, "f2"), os.path.join(src, "hard"))
    os.mkfifo(os.path.join(src, "fifo"))
    os.chmod(os.path.join(src, "f4"), 0o4751)
    os.utime(os.path.join(src, "f6"), ns=(1234567890123456789, 987654321987654321))
    tar = os.path.join(base, "t.tar")
    run("tar", "-C", base, "-cf", tar, "tree")
    out = mount.path("work", "untar")
    os.mkdir(out)
    run("tar", "-C", out, "-xpf", tar)
    run("tar", "-C", out, "--compare", "-f", tar)
    run("cp", "-a", src, mount.path("work", "cpa"))
    run("rsync", "-aH", src + "/", mount.path("work", "rs") + "/")
    again = run("rsync", "-aHi", src + "/", mount.path("work", "rs") + "/").stdout
    eq(again, "", "the second rsync changes nothing")
    run("diff", "-r", "--no-dereference", "--exclude=fifo", src, mount.path("work", "cpa"))
    st = os.stat(mount.path("work", "cpa", "f6"))
    eq(st.st_mtime_ns, 987654321987654321, "mtime in ns")
    a, b = os.stat(mount.path("work", "rs", "f2")), os.stat(mount.path("work", "rs", "hard"))
    eq((a.st_ino, a.st_nlink), (b.st_ino, 2), "hard link")


def editor_save(mount, base):
    path = mount.path("work", "text")
    for i in range(5):
        tmp = path + "~"
        with open(tmp, "w") as f:
            f.write(f"version {i}\n")
            f.flush()
            os.fsync(f.fileno())
        os.rename(tmp, path)
        with open(path) as f:
            eq(f.read(), f"version {i}\n", "saved")
    run("sed", "-i", "s/version/edition/", path)
    with open(path) as f:
        eq(f.read(), "edition 4\n", "sed -i")


def mapped(mount, base):
    import mmap

    path = mount.path("work", "mapped")
    with open(path, "wb") as f:
        f.write(b"\0" * 100000)
    with open(path, "r+b") as f:
        m = mmap.mmap(f.fileno(), 0)
        m[50000:50005] = b"hello"
        m.flush()
        m.close()
    with open(path, "rb") as f:
        data = f.read()
    eq((len(data), data[50000:50005]), (100000, b"hello"), "mmap")


def many_files(mount, base):
    n = 5000 if SLOW == 1 else 2000
    d = mount.path("work", "many")
    os.mkdir(d)
    for i in range(n):
        os.close(os.open(os.path.join(d, f"f{i}"), os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    eq(len(os.listdir(d)), n, "listed")
    seen = set()
    with os.scandir(d) as it:
        for k, e in enumerate(it):
            assert e.name not in seen
            seen.add(e.name)
            os.unlink(e.path)  # readdir is stable while names go
    eq(len(seen), n, "each seen once while being removed")
    os.rmdir(d)


def posix_details(mount, base):
    d = mount.path("work", "px")
    os.mkdir(d)
    p = os.path.join(d, "f")
    fd = os.open(p, os.O_CREAT | os.O_RDWR, 0o600)
    os.write(fd, b"keep me")
    os.unlink(p)
    eq(os.fstat(fd).st_nlink, 0, "nlink of an unlinked open file")
    os.lseek(fd, 0, 0)
    eq(os.read(fd, 100), b"keep me", "its bytes")
    os.close(fd)
    fd = os.open(p, os.O_CREAT | os.O_RDWR)
    os.pwrite(fd, b"end", 10_000_000)
    eq(os.fstat(fd).st_size, 10_000_003, "sparse size")
    eq(os.pread(fd, 4, 5_000_000), b"\0" * 4, "hole")
    os.ftruncate(fd, 9)
    os.ftruncate(fd, 20)
    eq(os.pread(fd, 100, 0), b"\0" * 20, "truncate down and up")
    os.close(fd)
    try:
        os.open(p, os.O_CREAT | os.O_EXCL)
        raise AssertionError("O_EXCL on an existing file")
    except FileExistsError:
        pass
    fds = [os.open(p, os.O_WRONLY | os.O_APPEND) for _ in range(2)]
    for i in range(10):
        os.write(fds[i % 2], b"%d" % i)
    for fd in fds:
        os.close(fd)
    with open(p, "rb") as f:
        eq(f.read()[20:], b"0123456789", "append in turn")
    os.setxattr(p, "user.note", b"value")
    eq(os.getxattr(p, "user.note"), b"value", "xattr")
    assert "user.note" in os.listxattr(p)
    os.removexattr(p, "user.note")
    eq(os.listxattr(p), [], "xattrs")
    os.chmod(p, 0o640)
    eq(os.stat(p).st_mode & 0o7777, 0o640, "chmod")
    os.makedirs(os.path.join(d, "x", "y"))
    for src, dst, err in (
        (os.path.join(d, "x"), os.path.join(d, "x", "y", "z"), "Invalid argument"),
        (p, os.path.join(d, "x"), "Is a directory"),
        (os.path.join(d, "x", "y"), p, "Not a directory"),
    ):
        try:
            os.rename(src, dst)
            raise AssertionError(f"rename {src} {dst}")
        except OSError as e:
            eq(e.strerror, err, f"rename {src} {dst}")
    assert os.statvfs(d).f_bavail > 0


def root_directory(mount, base):
    for fn in (
        lambda: os.mkdir(mount.path("new")),
        lambda: os.rmdir(mount.path("work")),
        lambda: os.rename(mount.path("work"), mount.path("w2")),
    ):
        try:
            fn()
            raise AssertionError("the bucket directory can be changed")
        except PermissionError:
            pass


def put_over_open(mount, base):
    s3 = mount.server.s3()
    s3.put("/work/over", b"old bytes")
    f = open(mount.path("work", "over"), "rb")
    eq(f.read(3), b"old", "before")
    s3.put("/work/over", b"new bytes")
    eq(f.read(), b" bytes", "the reader keeps its bytes")
    f.seek(0)
    eq(f.read(), b"old bytes", "all of them")
    f.close()
    with open(mount.path("work", "over"), "rb") as f:
        eq(f.read(), b"new bytes", "the next open sees the new ones")
    with open(mount.path("work", "over"), "ab") as f:
        f.write(b"!")
    r = s3.get("/work/over")
    eq(r.body, b"new bytes!", "S3 after a write through the mount")
    assert r.header("etag").endswith('-0"'), r.header("etag")


def main():
    server = Server(spread=1)
    eq(server.s3().put("/work").status, 200, "bucket")
    t = Tap()
    mount = t.mount(server)
    base = tmpdir()
    for fn in (
        posix_details, put_over_open, root_directory, editor_save, mapped, copies, git_work,
        make_j4, sqlite_work, many_files,
    ):
        t.run(fn.__name__.replace("_", " "), fn, mount, base)

    def sums():
        s3 = server.s3()
        for dirpath, _, files in os.walk(mount.path("work", "cpa")):
            for name in files:
                full = os.path.join(dirpath, name)
                if not os.path.isfile(full) or os.path.islink(full):
                    continue
                with open(full, "rb") as f:
                    want = f.read()
                key = os.path.relpath(full, mount.dir)
                if s3.get("/" + key).body != want:
                    raise AssertionError(f"{key} differs in S3")

    t.run("files written by the mount fetched through S3", sums)
    t.run("umount", mount.umount)
    t.run("clean stop", server.stop)
    t.end()


main()
