"""Bytes, opens, listings, locks, and what else files can be used for."""

import errno
import fcntl
import mmap
import os
import shutil
import socket
import stat
import struct

from conform import *

E = errno
KEEP, PUNCH, COLLAPSE, ZERO, INSERT = 1, 2, 8, 16, 32


# --- open ---


def opening(c):
    d = c.dir()
    p = lambda name: os.path.join(d, name)
    for kind in TYPES:
        c.make(kind, p(kind))
    os.unlink(p("symlink"))
    os.symlink("file", p("symlink"))
    W = os.O_WRONLY
    c.err("directory for writing", E.EISDIR, os.open, p("dir"), W)
    c.err("directory for both", E.EISDIR, os.open, p("dir"), os.O_RDWR)
    c.err("O_CREAT of a directory", E.EISDIR, os.open, p("dir"), os.O_CREAT | os.O_RDONLY)
    c.err("O_CREAT with a slash", (E.EISDIR, E.ENOENT), os.open, p("new/"), os.O_CREAT | W)
    c.err("a file with a slash", E.ENOTDIR, os.open, p("file/"), os.O_RDONLY)
    c.err("O_DIRECTORY of a file", E.ENOTDIR, os.open, p("file"), os.O_DIRECTORY)
    c.err("O_NOFOLLOW", E.ELOOP, os.open, p("symlink"), os.O_NOFOLLOW)
    c.err("fifo without reader", E.ENXIO, os.open, p("fifo"), W | os.O_NONBLOCK)
    c.err("socket", E.ENXIO, os.open, p("socket"), os.O_RDONLY)
    for kind in TYPES:
        c.err(f"O_EXCL of a {kind}", E.EEXIST, os.open, p(kind), os.O_CREAT | os.O_EXCL | W)
    fd = c.ok("O_CREAT with mode 0", os.open, p("zero"), os.O_CREAT | os.O_RDWR, 0)
    c.eq("write to it", os.write(fd, b"abc"), 3)
    c.eq("read of it", os.pread(fd, 5, 0), b"abc")
    c.eq("its mode", stat.S_IMODE(os.fstat(fd).st_mode), 0)
    os.close(fd)
    fd = os.open(p("zero"), os.O_RDONLY)
    c.err("write to a reader", E.EBADF, os.write, fd, b"x")
    c.err("ftruncate of a reader", (E.EINVAL, E.EBADF), os.ftruncate, fd, 1)
    os.close(fd)
    fd = os.open(p("zero"), W)
    c.err("read of a writer", E.EBADF, os.read, fd, 1)
    os.close(fd)
    fd = os.open(p("file"), os.O_PATH)
    c.eq("fstat of O_PATH", os.fstat(fd).st_ino, os.stat(p("file")).st_ino)
    os.close(fd)
    fd = os.open(p("trunc"), os.O_CREAT | os.O_RDWR)
    os.write(fd, b"0123456789")
    touch(p("trunc"))
    c.eq("without O_TRUNC", os.fstat(fd).st_size, 10)
    os.close(os.open(p("trunc"), W | os.O_TRUNC))
    c.eq("O_TRUNC seen by another handle", (os.fstat(fd).st_size, os.pread(fd, 10, 0)), (0, b""))
    os.close(fd)


def busy_text(c):
    p = os.path.join(c.dir(), "sleep")
    shutil.copy("/bin/sleep", p)
    os.chmod(p, 0o755)
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(write_end, 1)
        os.execv(p, [p, "60"])
    os.close(write_end)
    while os.readlink(f"/proc/{pid}/exe") != p:
        time.sleep(0.01)
    c.err("open for writing", E.ETXTBSY, os.open, p, os.O_WRONLY)
    c.err("truncate", E.ETXTBSY, os.truncate, p, 0)
    c.ok("unlink", os.unlink, p)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    os.close(read_end)


def unnamed(c):
    """O_TMPFILE: a file without a name, until it is linked."""
    d = c.dir()
    fd = c.ok("O_TMPFILE", os.open, d, os.O_TMPFILE | os.O_RDWR, 0o640)
    if fd is None:
        return
    c.eq("links", os.fstat(fd).st_nlink, 0)
    c.eq("write", os.write(fd, b"bytes"), 5)
    c.eq("nothing to see", os.listdir(d), [])
    c.eq("mode", stat.S_IMODE(os.fstat(fd).st_mode), 0o640)
    c.ok("link", link_fd, fd, os.path.join(d, "named"))
    c.eq("bytes", read_file(os.path.join(d, "named")), b"bytes")
    c.eq("links then", os.fstat(fd).st_nlink, 1)
    os.close(fd)
    fd = os.open(d, os.O_TMPFILE | os.O_RDWR | os.O_EXCL, 0o640)
    c.err("link after O_EXCL", E.ENOENT, link_fd, fd, os.path.join(d, "x"))
    os.close(fd)
    c.eq("only the linked one stays", os.listdir(d), ["named"])


# --- bytes ---


def truncating(c):
    d = c.dir()
    p = os.path.join(d, "f")
    for size in (0, 1, 4095, 4096, 4097, 1 << 20, (1 << 26) + 5, 1 << 40):
        write_file(p, b"x" * 5000)
        c.ok(f"truncate to {size}", os.truncate, p, size)
        c.eq(f"size {size}", os.stat(p).st_size, size)
        fd = os.open(p, os.O_RDWR)
        c.eq(f"the front at {size}", os.pread(fd, 5000, 0), b"x" * min(size, 5000))
        if size > 5000:
            c.eq(f"the rest at {size}", os.pread(fd, 100, size - 50), b"\0" * 50)
        c.ok(f"ftruncate at {size}", os.ftruncate, fd, 3)
        c.ok("and up", os.ftruncate, fd, 6)
        c.eq("zeros", os.pread(fd, 10, 0), b"x" * min(size, 3) + b"\0" * (6 - min(size, 3)))
        os.close(fd)
    c.err("negative", E.EINVAL, os.truncate, p, -1)
    c.err("too large", (E.EFBIG, E.EINVAL), os.truncate, p, 2**63 - 1)
    c.err("a directory", E.EISDIR, os.truncate, d, 0)
    for kind in ("fifo", "socket", "char"):
        c.err(f"a {kind}", E.EINVAL, os.truncate, c.make(kind, os.path.join(d, kind)), 0)


def offsets(c):
    p = os.path.join(c.dir(), "f")
    fd = os.open(p, os.O_CREAT | os.O_RDWR)
    c.eq("far away", os.pwrite(fd, b"end", 1 << 40), 3)
    c.eq("size", os.fstat(fd).st_size, (1 << 40) + 3)
    c.eq("zeros before", os.pread(fd, 100, (1 << 40) - 50), b"\0" * 50 + b"end")
    os.fsync(fd)
    c.true("sparse", os.stat(p).st_blocks * 512 < 1 << 20)
    c.err("beyond all", (E.EFBIG, E.EINVAL), os.pwrite, fd, b"xx", 2**63 - 2)
    c.eq("SEEK_END", os.lseek(fd, -3, os.SEEK_END), 1 << 40)
    c.eq("read there", os.read(fd, 10), b"end")
    c.err("SEEK_SET below 0", E.EINVAL, os.lseek, fd, -1, os.SEEK_SET)
    c.eq("read at the end", os.read(fd, 10), b"")
    c.eq("behind the end", os.pread(fd, 10, 1 << 41), b"")
    os.ftruncate(fd, 0)
    os.lseek(fd, 10, os.SEEK_SET)
    c.eq("write behind the end", os.write(fd, b"x"), 1)
    c.eq("a hole before it", os.pread(fd, 20, 0), b"\0" * 10 + b"x")
    parts = [b"a" * 3000, b"", b"b" * 5000]
    c.eq("writev", os.pwritev(fd, parts, 1), 8000)
    got = [bytearray(10), bytearray(7990)]
    c.eq("readv", os.preadv(fd, got, 1), 8000)
    c.eq("its bytes", b"".join(got), b"".join(parts))
    os.close(fd)


def appending(c):
    p = os.path.join(c.dir(), "f")
    a = os.open(p, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    b = os.open(p, os.O_RDWR)
    os.write(a, b"one")
    os.pwrite(b, b"TWO", 3)
    os.lseek(a, 0, os.SEEK_SET)
    os.write(a, b"three")
    c.eq("appended", os.pread(b, 20, 0), b"oneTWOthree")
    c.eq("position", os.lseek(a, 0, os.SEEK_CUR), 11)
    os.ftruncate(b, 2)
    os.write(a, b"!")
    c.eq("after a cut", os.pread(b, 20, 0), b"on!")
    fcntl.fcntl(b, fcntl.F_SETFL, os.O_APPEND)
    os.lseek(b, 0, os.SEEK_SET)
    os.write(b, b"?")
    c.eq("by F_SETFL", os.pread(b, 20, 0), b"on!?")
    os.close(a)
    os.close(b)


def mapping(c):
    p = os.path.join(c.dir(), "f")
    write_file(p, bytes(range(256)) * 64)
    a, b = os.open(p, os.O_RDWR), os.open(p, os.O_RDWR)
    m = mmap.mmap(a, 0)
    c.eq("bytes", m[1000:1010], bytes(range(1000 % 256, 1000 % 256 + 10)))
    m[5000:5005] = b"mmap!"
    c.eq("seen by read", os.pread(b, 5, 5000), b"mmap!")
    os.pwrite(b, b"write", 9000)
    c.eq("sees write", m[9000:9005], b"write")
    m[0:3] = b"abc"
    m.flush()
    m.close()
    os.close(a)
    os.close(b)
    c.eq("stays", (read_file(p)[:3], read_file(p)[5000:5005]), (b"abc", b"mmap!"))
    fd = os.open(p, os.O_RDONLY)
    private = mmap.mmap(fd, 0, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)
    private[0:3] = b"xyz"
    c.eq("a private one is private", os.pread(fd, 3, 0), b"abc")
    private.close()
    c.err("shared and writable of a reader", E.EACCES, mmap.mmap, fd, 0)
    os.close(fd)


def allocating(c):
    p = os.path.join(c.dir(), "f")
    fd = os.open(p, os.O_CREAT | os.O_RDWR)
    size = lambda: os.fstat(fd).st_size
    blocks = lambda: (os.fsync(fd), os.fstat(fd).st_blocks)[1]
    c.ok("posix_fallocate", os.posix_fallocate, fd, 0, 10000)
    c.eq("size", size(), 10000)
    c.ok("keep size", fallocate, fd, KEEP, 0, 50000)
    c.eq("kept", size(), 10000)
    os.pwrite(fd, b"x" * 200000, 0)
    c.ok("below the size", fallocate, fd, 0, 0, 1000)
    c.eq("still", (size(), os.pread(fd, 3, 0)), (200000, b"x" * 3))
    before = blocks()
    c.ok("punch", fallocate, fd, PUNCH | KEEP, 4096, 131072)
    c.eq("a hole", os.pread(fd, 131074, 4095), b"x" + b"\0" * 131072 + b"x")
    c.true("blocks are given back", blocks() <= before - 131072 // 512)
    c.ok("punch across the end", fallocate, fd, PUNCH | KEEP, 190000, 100000)
    c.eq("size stays", (size(), os.pread(fd, 20000, 189999)), (200000, b"x" + b"\0" * 10000))
    c.err("punch without keep", E.EOPNOTSUPP, fallocate, fd, PUNCH, 0, 1)
    c.ok("zero range", fallocate, fd, ZERO, 150000, 100000)
    c.eq("grown", (size(), os.pread(fd, 2, 149999)), (250000, b"x\0"))
    c.ok("zero range, keep", fallocate, fd, ZERO | KEEP, 0, 1000000)
    c.eq("kept at that", (size(), os.pread(fd, 3, 0)), (250000, b"\0\0\0"))
    c.changes("punch", p, fallocate, fd, PUNCH | KEEP, 0, 10, mtime=True)
    c.err("length 0", E.EINVAL, fallocate, fd, 0, 0, 0)
    c.err("negative", E.EINVAL, fallocate, fd, 0, -1, 5)
    c.err("too large", E.EFBIG, fallocate, fd, 0, 2**63 - 10, 9)
    os.close(fd)
    fd = os.open(p, os.O_RDONLY)
    c.err("by a reader", E.EBADF, fallocate, fd, 0, 0, 10)
    os.close(fd)


def holes(c):
    p = os.path.join(c.dir(), "f")
    fd = os.open(p, os.O_CREAT | os.O_RDWR)
    M = 1 << 20
    seek = lambda off, how: os.lseek(fd, off, how)
    c.err("data of nothing", E.ENXIO, seek, 0, os.SEEK_DATA)
    c.err("hole of nothing", E.ENXIO, seek, 0, os.SEEK_HOLE)
    os.ftruncate(fd, 4 * M)
    c.err("data of a hole", E.ENXIO, seek, 0, os.SEEK_DATA)
    c.eq("hole of a hole", seek(5, os.SEEK_HOLE), 5)
    os.pwrite(fd, b"x" * M, M)
    c.eq("data before", seek(0, os.SEEK_DATA), M)
    c.eq("data within", seek(M + 7, os.SEEK_DATA), M + 7)
    c.eq("hole behind", seek(M, os.SEEK_HOLE), 2 * M)
    c.err("no data behind", E.ENXIO, seek, 2 * M, os.SEEK_DATA)
    os.pwrite(fd, b"y" * M, 3 * M)
    c.eq("the end is a hole", seek(3 * M, os.SEEK_HOLE), 4 * M)
    c.err("at the end", E.ENXIO, seek, 4 * M, os.SEEK_HOLE)
    c.err("behind the end", E.ENXIO, seek, 5 * M, os.SEEK_DATA)
    os.pwrite(fd, b"z", 100 * M)
    c.eq("over regions", seek(4 * M, os.SEEK_DATA), 100 * M)
    os.close(fd)


def copying(c):
    d = c.dir()
    a, b = (os.open(os.path.join(d, n), os.O_CREAT | os.O_RDWR) for n in "ab")
    data = bytes(i * 7 % 251 for i in range(3_000_000))
    os.write(a, data)
    copy = lambda n, i, o, src=a, dst=b: os.copy_file_range(src, dst, n, i, o)
    done = 0
    while done < len(data):
        n = c.ok("copy", copy, len(data) - done, done, done)
        if not n:
            break
        done += n
    c.eq("size", os.fstat(b).st_size, len(data))
    c.true("bytes", os.pread(b, len(data), 0) == data)
    c.eq("at the end", copy(100, len(data), 0), 0)
    c.eq("a short rest", copy(100, len(data) - 7, 0), 7)
    c.eq("its bytes", os.pread(b, 7, 0), data[-7:])
    c.eq("behind the end of the other", copy(5000, 10, 5_000_000), 5000)
    c.eq("a hole before", os.pread(b, 5001, 4_999_999), b"\0" + data[10:5010])
    os.pwrite(a, b"CHANGED", 0)
    c.eq("copies are their own", os.pread(b, 20, 10), data[10:30])
    c.err("overlap", E.EINVAL, copy, 100, 0, 50, a, a)
    c.eq("within one file", copy(1000, 0, 4_000_000, a, a), 1000)
    c.eq("its bytes", os.pread(a, 20, 4_000_000), b"CHANGED" + data[7:20])
    c.true("mtime moves", os.fstat(b).st_mtime_ns > 0)
    reader = os.open(os.path.join(d, "b"), os.O_RDONLY)
    c.err("to a reader", E.EBADF, copy, 1, 0, 0, a, reader)
    for fd in (a, b, reader):
        os.close(fd)
    with open(os.path.join(d, "a"), "rb") as src, open(os.path.join(d, "s"), "wb") as dst:
        c.eq("sendfile", os.sendfile(dst.fileno(), src.fileno(), 0, 100000), 100000)
    c.true("its bytes", read_file(os.path.join(d, "s"))[7:] == data[7:100000])


# --- listings ---


class Dirent(ctypes.Structure):
    _fields_ = [("ino", ctypes.c_uint64), ("off", ctypes.c_int64), ("reclen", ctypes.c_ushort),
                ("type", ctypes.c_ubyte), ("name", ctypes.c_char * 256)]


libc.fdopendir.restype = ctypes.c_void_p
libc.readdir64.restype = ctypes.POINTER(Dirent)
libc.telldir.restype = ctypes.c_long
READDIR = [ctypes.c_void_p]
libc.readdir64.argtypes = libc.telldir.argtypes = libc.rewinddir.argtypes = libc.closedir.argtypes = READDIR
libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]


class Listing:
    def __init__(self, path):
        self.d = libc.fdopendir(os.open(path, os.O_RDONLY | os.O_DIRECTORY))

    def next(self):
        e = libc.readdir64(self.d)
        return os.fsdecode(e.contents.name) if e else None

    def rest(self):
        return list(iter(self.next, None))

    def close(self):
        libc.closedir(self.d)


def listing(c):
    d = c.dir()
    names = [f"name{i:05}" for i in range(2500)]
    for n in names:
        touch(os.path.join(d, n))
    all_names = sorted([".", ".."] + names)
    it = Listing(d)
    c.true("every name once", sorted(it.rest()) == all_names)
    libc.rewinddir(it.d)
    c.true("again after rewinddir", sorted(it.rest()) == all_names)
    libc.rewinddir(it.d)
    places = []
    for _ in range(2400):
        places.append(libc.telldir(it.d))
        it.next()
    libc.rewinddir(it.d)
    order = it.rest()
    for i in (0, 1, 2, 50, 999, 1500, 2399, 7):
        libc.seekdir(it.d, places[i])
        c.eq(f"seekdir to {i}", it.next(), order[i])
    libc.rewinddir(it.d)
    seen = []
    for n in iter(it.next, None):
        seen.append(n)
        if n[0] != ".":
            os.unlink(os.path.join(d, n))
    c.true("every name once, though removed meanwhile", sorted(seen) == all_names)
    it.close()
    c.eq("empty", os.listdir(d), [])
    for kind in TYPES:
        c.make(kind, os.path.join(d, kind))
    with os.scandir(d) as entries:
        kinds = {e.name: (e.is_file(follow_symlinks=False), e.is_dir(follow_symlinks=False), e.is_symlink(), e.inode()) for e in entries}
    for kind in TYPES:
        want = (kind == "file", kind == "dir", kind == "symlink", os.lstat(os.path.join(d, kind)).st_ino)
        c.eq(f"type of a {kind}", kinds[kind], want)
    made = [f"during{i}" for i in range(1500)]
    for n in made:
        touch(os.path.join(d, n))
    it = Listing(d)
    first = [it.next() for _ in range(1200)]
    for i in range(500):
        touch(os.path.join(d, f"added{i}"))
    every = first + it.rest()
    c.true("nothing twice while names come", len(set(every)) == len(every))
    c.true("nothing missed while names come", set(made) <= set(every))
    it.close()


# --- locks ---


def locks(c):
    p = os.path.join(c.dir(), "f")
    write_file(p, b"x" * 100)
    a, b = os.open(p, os.O_RDWR), os.open(p, os.O_RDWR)
    nb = fcntl.LOCK_NB
    c.ok("flock shared", fcntl.flock, a, fcntl.LOCK_SH | nb)
    c.ok("flock shared twice", fcntl.flock, b, fcntl.LOCK_SH | nb)
    c.err("flock exclusive", E.EWOULDBLOCK, fcntl.flock, b, fcntl.LOCK_EX | nb)
    fcntl.flock(a, fcntl.LOCK_UN)
    c.ok("flock exclusive then", fcntl.flock, b, fcntl.LOCK_EX | nb)
    fcntl.flock(b, fcntl.LOCK_UN)
    OFD_SETLK = 37
    lock = lambda kind, start, n: struct.pack("hhqqi4x", kind, 0, start, n, 0)
    put = lambda fd, *what: fcntl.fcntl(fd, OFD_SETLK, lock(*what))
    c.ok("range write lock", put, a, fcntl.F_WRLCK, 0, 10)
    c.ok("another range", put, b, fcntl.F_WRLCK, 10, 10)
    c.err("the same range", (E.EAGAIN, E.EACCES), put, b, fcntl.F_RDLCK, 9, 1)
    c.ok("part of it unlocked", put, a, fcntl.F_UNLCK, 5, 5)
    c.ok("taken by the other", put, b, fcntl.F_RDLCK, 9, 1)
    os.close(a)
    c.ok("a close unlocks", put, b, fcntl.F_WRLCK, 0, 20)
    os.close(b)


# --- other uses ---


def fifos_and_sockets(c):
    d = c.dir()
    p = c.make("fifo", os.path.join(d, "fifo"))
    r = os.open(p, os.O_RDONLY | os.O_NONBLOCK)
    w = os.open(p, os.O_WRONLY | os.O_NONBLOCK)
    os.write(w, b"through")
    c.eq("a fifo", os.read(r, 10), b"through")
    os.close(r)
    os.close(w)
    os.chdir(d)
    with socket.socket(socket.AF_UNIX) as s, socket.socket(socket.AF_UNIX) as client:
        c.ok("bind", s.bind, "sock")
        s.listen(1)
        c.true("is a socket", stat.S_ISSOCK(os.stat("sock").st_mode))
        c.ok("connect", client.connect, "sock")
        with s.accept()[0] as other:
            client.send(b"hello")
            c.eq("through it", other.recv(10), b"hello")
        with socket.socket(socket.AF_UNIX) as again:
            c.err("bind again", E.EADDRINUSE, again.bind, "sock")
    os.chdir("/")


def space(c):
    st = os.statvfs(c.dir())
    c.eq("name length", st.f_namemax, 255)
    c.true("blocks", 0 < st.f_bavail <= st.f_bfree <= st.f_blocks)
    c.true("files", 0 < st.f_ffree <= st.f_files)
    c.true("block size", st.f_frsize >= 512 and st.f_bsize >= st.f_frsize)


GROUPS = [
    opening, busy_text, unnamed, truncating, offsets, appending, mapping, allocating, holes, copying, listing,
    locks, fifos_and_sockets, space,
]
