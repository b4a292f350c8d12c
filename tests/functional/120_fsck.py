#!/usr/bin/env python3
"""leofs-adm fsck and leofs fsck: clean stores are clean, damage is found."""

import glob
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from leo import *

DROPROW = os.path.join(BUILD, "tests", "lib", "droprow")
LARGE = os.urandom(9 << 20)
SMALL = os.urandom(9000)


def fill(server):
    """Something of each kind; one file stays open without a name."""
    s3 = server.s3()
    eq(s3.put("/fsck").status, 200, "bucket")
    for i in range(200):
        eq(s3.put(f"/fsck/dir{i % 7}/key{i}", os.urandom(i * 50)).status, 200, "PUT")
    eq(s3.put("/fsck/large", LARGE).status, 200, "PUT")
    eq(s3.put("/fsck/small", SMALL).status, 200, "PUT")
    eq(s3.put("/fsck/copy", **{"x-amz-copy-source": "/fsck/large"}).status, 200, "copy")
    for i in range(0, 200, 3):
        eq(s3.delete(f"/fsck/dir{i % 7}/key{i}").status, 204, "DELETE")
    mount = Mount(server, "/fsck")
    os.link(mount.path("small"), mount.path("link"))
    os.setxattr(mount.path("small"), "user.note", b"value")
    os.symlink("small", mount.path("symlink"))
    fd = os.open(mount.path("open"), os.O_CREAT | os.O_RDWR)
    os.write(fd, b"x" * 100000)
    os.fsync(fd)
    os.unlink(mount.path("open"))
    return mount, fd


def on_line(server):
    mount, fd = fill(server)
    for args in ((), ("--read",)):
        p = server.adm("--json", "fsck", *args)
        r = json.loads(p.stdout)
        eq((r["state"], r["n_findings"], r["read"]), ("clean", 0, bool(args)), "result")
        n = r["counts"]
        assert n["names"] > 130 and n["values"] > 80 and n["chunks"] >= 3, n
        eq((n["open"], n["copies"]), (1, n["chunks"]), "held open; each chunk is there")
    assert "clean" in server.adm("fsck").stdout
    os.close(fd)
    mount.umount()


def under_load(server):
    """Nothing is found that only is on its way."""
    mount = Mount(server, "/fsck")
    stop = threading.Event()

    def work(n):
        i = 0
        while not stop.is_set():
            p = mount.path(f"load{n}.{i % 5}")
            with open(p, "wb") as f:
                f.write(os.urandom(100 + i % 3 * 400000))
            if i % 3 == 0:
                os.rename(p, mount.path(f"load{n}.r"))
            elif i % 3 == 1:
                os.unlink(p)
            i += 1

    threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
    for t in threads:
        t.start()
    try:
        for _ in range(5):
            r = json.loads(server.adm("--json", "fsck", "--read", check=False).stdout)
            eq((r["state"], r["findings"]), ("clean", []), "under load")
    finally:
        stop.set()
        for t in threads:
            t.join()
    mount.umount()


def off_line(server, want, *args):
    p = run(LEOFS, "fsck", "--data", server.data, *args, check=False)
    eq(p.returncode, want, f"exit of leofs fsck {' '.join(args)}: {p.stdout} {p.stderr}")
    return p.stdout


def stopped(server):
    server.stop()
    off_line(server, 0)
    off_line(server, 0, "--read")
    eq(run(LEOFS, "fsck", "--data", server.data + "/nothing", check=False).returncode, 2, "no store")


def flip(server, head, needle):
    """Damages the bytes of `needle` in the segments of a head."""
    for path in glob.glob(os.path.join(server.data, "store", head, "*.seg")):
        with open(path, "r+b") as f:
            at = f.read().find(needle)
            if at >= 0:
                f.seek(at)
                f.write(bytes([needle[0] ^ 1]))
                return
    raise AssertionError(f"the bytes are not in {head}/")


def damaged_chunk(server):
    flip(server, "bulk", LARGE[5 << 20 : (5 << 20) + 64])
    off_line(server, 0)  # it is there
    text = off_line(server, 1, "--read")
    assert "chunk 1 of slice" in text and "does not have its hash" in text, text
    # the large object, and its copy in case they share it
    assert 1 <= text.count("does not have its hash") <= 2, text
    server.start()
    p = server.adm("fsck", "--read", check=False)
    eq(p.returncode, 1, "exit of leofs-adm fsck --read")
    assert "result: findings" in p.stdout, p.stdout
    server.fsck_wanted = False
    server.stop()


def damaged_value(server):
    flip(server, "log", SMALL[100:164])
    text = off_line(server, 1, "--read")
    assert "value of 9000 bytes" in text and "does not have its hash" in text, text


def names_over_shards():
    """Both ends are compared while names move; the end that is missing is found, by either fsck."""
    server = Server(spread=1)
    s3 = server.s3()
    eq(s3.put("/far").status, 200, "bucket")
    for i in range(12):
        eq(s3.put(f"/far/dir{i}/key", "x").status, 200, "PUT")
    mount = Mount(server, "/far")
    stop = threading.Event()

    def moves(n):
        """The same names between the same directories, again and again."""
        i = 0
        while not stop.is_set():
            os.rename(mount.path(f"dir{(n + i) % 12}", "key" if i == 0 else f"m{n}"),
                      mount.path(f"dir{(n + i + 1) % 12}", f"m{n}"))
            i += 1

    threads = [threading.Thread(target=moves, args=(n,)) for n in range(0, 12, 4)]
    for th in threads:
        th.start()
    try:
        for _ in range(5):
            r = json.loads(server.adm("--json", "fsck", check=False).stdout)
            eq((r["state"], r["findings"]), ("clean", []), "while names move")
    finally:
        stop.set()
        for th in threads:
            th.join()
    r = json.loads(server.adm("--json", "fsck").stdout)
    assert r["counts"]["spans"] >= 12, r
    mount.umount()
    server.stop()
    off_line(server, 0)
    server.start()
    root = server.adm_json("get-buckets")["buckets"][0]["shard"]
    away = next(i for i in range(12) if i % 4 and server.adm_json("whereis", f"far/dir{i}/key")["shard"] != root)
    server.stop()
    run(DROPROW, os.path.join(server.data, "store", "rows"), "D", f"dir{away}/")
    found = rf"dir{away}/ of [0-9a-f]+ leads to 0"
    assert re.search(found, off_line(server, 1)), "leofs fsck"
    server.fsck_wanted = False
    server.start()
    p = server.adm("fsck", check=False)
    eq(p.returncode, 1, "exit of leofs-adm fsck")
    assert len(re.findall(found, p.stdout)) == 1, p.stdout
    server.stop()


def main():
    t = Tap()
    server = Server()
    t.mount(server).umount()
    for fn in (on_line, under_load, stopped, damaged_chunk, damaged_value):
        t.run(fn.__name__.replace("_", " "), fn, server)
    t.run("names over shards", names_over_shards)
    t.end()


main()
