#!/usr/bin/env python3
"""Random operations through both doors against a model held in this program: every answer, errno for errno."""

import errno
import os
import stat
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from leo import *

OPS = int(os.environ.get("LEO_MODEL_OPS", "1200"))
# what a run is like: options of the server, names in a component, depth of a path, the most bytes
PLAIN = ((), ("a", "b", "c", "a-b", "d"), 3, 90_000)
SMALL = (("segment.size=8MiB", "compaction.min_dead=1MiB", "reader.lease=1s"), PLAIN[1], 3, 1_500_000)
# more names than a directory keeps in one shard, some alike up to a byte below the slash
SPLIT_AT = 64
WIDE = (
    (f"dir_split_names={SPLIT_AT}",),
    tuple("abc") + tuple(f"{p}{i}" for p in ("k", "a-", "b.", "img-0") for i in range(40)),
    2,
    30_000,
)


class File:
    """What names lead to; several may."""

    def __init__(self, data):
        self.data = data


class Model:
    """files: key -> File; dirs: explicit directories (keys without slash)."""

    def __init__(self):
        self.files = {}
        self.dirs = set()

    def is_dir(self, path):
        below = path + "/"
        return path == "" or path in self.dirs or any(n.startswith(below) for n in (*self.files, *self.dirs))

    def exists(self, path):
        return path in self.files or self.is_dir(path)

    def children(self, path):
        start = path + "/" if path else ""
        out = set()
        for k in list(self.files) + list(self.dirs):
            if k.startswith(start) and k != path:
                out.add(k[len(start):].split("/")[0])
        return out

    def keys(self):
        """All that are there: files, and directories with nothing in them."""
        out = list(self.files)
        out += [d + "/" for d in self.dirs if not self.children(d)]
        return sorted(k.encode() for k in out)

    def listing(self, prefix, delimiter):
        """What LIST shows of them: keys, and what they have in common."""
        out = []
        for k in self.keys():
            at = k.find(delimiter, len(prefix)) if delimiter else -1
            if not k.startswith(prefix):
                continue
            k = k if at < 0 else k[: at + len(delimiter)]
            if k not in out[-1:]:
                out.append(k)
        return out

    def way(self, path):
        """Why the directory that it names cannot be reached; 0: it can."""
        parts = path.split("/")[:-1]
        for i in range(1, len(parts) + 1):
            if not self.is_dir("/".join(parts[:i])):
                return errno.ENOTDIR if "/".join(parts[:i]) in self.files else errno.ENOENT
        return 0

    def subtree(self, path):
        """Takes a directory out, as what put_subtree() puts elsewhere."""
        start = path + "/"
        files = {k[len(path):]: v for k, v in self.files.items() if k.startswith(start)}
        dirs = {d[len(path):] for d in self.dirs if d.startswith(start) or d == path}
        for k in files:
            del self.files[path + k]
        self.dirs -= {path + d for d in dirs}
        return files, dirs

    def put_subtree(self, path, what):
        files, dirs = what
        self.files.update({path + k: v for k, v in files.items()})
        self.dirs |= {path + d for d in dirs}

    def parent_explicit(self, path):
        """A last name that the mount takes away leaves its directory explicit."""
        parent = os.path.dirname(path)
        if parent and not self.children(parent):
            self.dirs.add(parent)


# --- what the mount must answer: an errno, 0 when it succeeds ---


def of_new_bytes(m, path, _):
    return m.way(path) or (errno.EISDIR if m.is_dir(path) else 0)


def of_truncate(m, path, _):
    return m.way(path) or (errno.EISDIR if m.is_dir(path) else 0 if path in m.files else errno.ENOENT)


def of_mkdir(m, path, _):
    return m.way(path) or (errno.EEXIST if m.exists(path) else 0)


def of_unlink(m, path, _):
    return of_truncate(m, path, _)


def of_rmdir(m, path, _):
    if m.way(path) or not m.exists(path):
        return m.way(path) or errno.ENOENT
    return errno.ENOTDIR if path in m.files else errno.ENOTEMPTY if m.children(path) else 0


def of_look(m, path, _):
    return m.way(path) or (0 if m.exists(path) else errno.ENOENT)


def of_readdir(m, path, _):
    return of_look(m, path, _) or (errno.ENOTDIR if path in m.files else 0)


def of_link(m, path, to):
    if of_look(m, path, to) or m.way(to):
        return of_look(m, path, to) or m.way(to)
    return errno.EEXIST if m.exists(to) else errno.EPERM if m.is_dir(path) else 0


def of_any_move(m, path, to, flags):
    """In the order of the kernel: vfs_rename() and what is before it."""
    err = m.way(path) or m.way(to) or (0 if m.exists(path) else errno.ENOENT)
    if err:
        return err
    if flags == RENAME_NOREPLACE and m.exists(to):
        return errno.EEXIST
    if flags == RENAME_EXCHANGE and not m.exists(to):
        return errno.ENOENT
    if to.startswith(path + "/"):
        return errno.EINVAL
    if path.startswith(to + "/"):
        return errno.EINVAL if flags == RENAME_EXCHANGE else errno.ENOTEMPTY
    if path == to or flags == RENAME_EXCHANGE or not m.exists(to):
        return 0
    if m.is_dir(path):
        return errno.ENOTDIR if to in m.files else errno.ENOTEMPTY if m.children(to) else 0
    return errno.EISDIR if m.is_dir(to) else 0


def of_rename(m, path, to):
    return of_any_move(m, path, to, 0)


def of_noreplace(m, path, to):
    return of_any_move(m, path, to, RENAME_NOREPLACE)


def of_exchange(m, path, to):
    return of_any_move(m, path, to, RENAME_EXCHANGE)


ERRNO = {
    "write": of_new_bytes,
    "append": of_new_bytes,
    "truncate": of_truncate,
    "mkdir": of_mkdir,
    "unlink": of_unlink,
    "rmdir": of_rmdir,
    "read": of_truncate,
    "stat": of_look,
    "readdir": of_readdir,
    "link": of_link,
    "rename": of_rename,
    "noreplace": of_noreplace,
    "exchange": of_exchange,
}
MOUNT_OPS = list(ERRNO) + ["write", "write", "mkdir", "rename", "rename", "exchange"]


# --- doing it ---


def do_mount(op, full, full_to, data):
    """The operation; what it tells."""
    if op in ("write", "append"):
        with open(full, "wb" if op == "write" else "ab") as f:
            f.write(data)
    elif op == "truncate":
        os.truncate(full, len(data))
    elif op == "read":
        with open(full, "rb") as f:
            return f.read()
    elif op == "stat":
        return os.stat(full)
    elif op == "readdir":
        return sorted(os.listdir(full))
    elif op in ("mkdir", "unlink", "rmdir"):
        getattr(os, op)(full)
    elif op == "link":
        os.link(full, full_to)
    else:
        renameat2(full, full_to, {"rename": 0, "noreplace": RENAME_NOREPLACE, "exchange": RENAME_EXCHANGE}[op])


def move(model, path, to):
    if path == to or (path in model.files and model.files[path] is model.files.get(to)):
        return
    if path in model.files:
        model.files[to] = model.files.pop(path)
    else:
        model.dirs.discard(to)
        model.put_subtree(to, model.subtree(path))
    model.parent_explicit(path)


def exchange(model, path, to):
    taken = []
    for p in (path, to):
        taken.append(model.files.pop(p) if p in model.files else model.subtree(p))
    for p, what in zip((to, path), taken):
        if isinstance(what, File):
            model.files[p] = what
        else:
            model.put_subtree(p, what)


def note_mount(model, op, path, to, data, told):
    """What it did to the model, and whether it told the truth."""
    f = model.files.get(path)
    if op == "write":
        model.files.setdefault(path, File(b"")).data = data
    elif op == "append":
        model.files.setdefault(path, File(b"")).data += data
    elif op == "truncate":
        f.data = f.data[: len(data)] + b"\0" * (len(data) - len(f.data))
    elif op == "mkdir":
        model.dirs.add(path)
    elif op == "unlink":
        del model.files[path]
        model.parent_explicit(path)
    elif op == "rmdir":
        model.dirs.discard(path)
        model.parent_explicit(path)
    elif op == "read":
        assert told == f.data, f"read {path}: other bytes"
    elif op == "stat":
        eq(stat.S_ISDIR(told.st_mode), f is None, f"is {path} a directory")
        if f is not None:
            links = sum(g is f for g in model.files.values())
            eq((told.st_size, told.st_nlink), (len(f.data), links), f"size and links of {path}")
    elif op == "readdir":
        eq(told, sorted(model.children(path)), f"readdir {path}")
    elif op == "link":
        model.files[to] = f
    elif op in ("rename", "noreplace"):
        move(model, path, to)
    elif path != to and (f is None or f is not model.files.get(to)):
        exchange(model, path, to)


def complain(err):
    raise err


class Run:
    def __init__(self, rng, shape):
        sets, self.names, self.depth, self.most = shape
        self.rng = rng
        extra = [word for s in sets for word in ("--set", s)]
        self.server = Server(spread=1, extra=extra)
        # names change behind the kernel's back here: it shall ask each time
        self.mount = Mount(self.server, options="entry_timeout=0,attr_timeout=0")
        self.s3 = self.server.s3()
        eq(self.s3.put("/model").status, 200, "bucket")
        self.model, self.log = Model(), []
        self.wrong = 0  # operations that had to fail

    def path(self):
        return "/".join(self.rng.choice(self.names) for _ in range(self.rng.randint(1, self.depth)))

    def data(self):
        return self.rng.randbytes(self.rng.choice([0, 10, 300, 5000, 40_000, self.most]))

    def some_path(self):
        """Often one that is there."""
        there = list(self.model.files) + list(self.model.dirs)
        return self.rng.choice(there) if there and self.rng.random() < 0.5 else self.path()

    def mount_op(self):
        op, path, to = self.rng.choice(MOUNT_OPS), self.some_path(), self.some_path()
        data = self.data()
        self.log.append(("mount", op, path, to))
        want, told, got = ERRNO[op](self.model, path, to), None, 0
        try:
            told = do_mount(op, self.mount.path("model", path), self.mount.path("model", to), data)
        except OSError as err:
            got = err.errno
        self.log[-1] += (errno.errorcode.get(got, "ok"),)
        eq(errno.errorcode.get(got, "ok"), errno.errorcode.get(want, "ok"), f"{op} {path} {to}")
        self.wrong += got != 0
        if got == 0:
            note_mount(self.model, op, path, to, data, told)

    # --- S3 ---

    def upload(self, path, data):
        """In one part, the last one of which may be small."""
        r = self.s3.request("POST", f"/model/{path}", query=[("uploads", "")])
        upload = r.body.split(b"<UploadId>")[1].split(b"</UploadId>")[0].decode()
        r = self.s3.request("PUT", f"/model/{path}", query=[("partNumber", "3"), ("uploadId", upload)], body=data)
        eq(r.status, 200, "part")
        part = f"<Part><PartNumber>3</PartNumber><ETag>{r.header('etag')}</ETag></Part>"
        body = f"<CompleteMultipartUpload>{part}</CompleteMultipartUpload>"
        r = self.s3.request("POST", f"/model/{path}", query=[("uploadId", upload)], body=body)
        eq((r.status, b"<Error>" in r.body), (200, False), "complete")

    def conditional(self, path, data):
        """With the ETag that it has, or another one; PUT or DELETE."""
        model, key = self.model, f"/model/{path}"
        there = path in model.files
        etag = self.s3.head(key).header("etag") if there else '"0123456789abcdef0123456789abcdef"'
        if self.rng.random() < 0.3:
            etag = '"' + "f" * 32 + '"'
        right = there and "f" * 32 not in etag
        if self.rng.random() < 0.5:
            r = self.s3.put(key, data, **{"If-Match": etag})
            eq((r.status, r.code()), (200, "") if right else (412, "PreconditionFailed") if there
               else (404, "NoSuchKey"), f"PUT {path} if {etag}")
            if right:
                model.files[path] = File(data)
            return
        r = self.s3.request("DELETE", key, headers={"If-Match": etag})
        want = 204 if right else 412 if there else 404
        eq(r.status, want, f"DELETE {path} if {etag}")
        if right:
            del model.files[path]

    def copy(self, path):
        model = self.model
        src = self.rng.choice(sorted(model.files) or ["nothing"]) if self.rng.random() < 0.9 else self.path()
        if src == path:
            return
        r = self.s3.put(f"/model/{path}", **{"x-amz-copy-source": f"/model/{src}"})
        eq((r.status, r.code()), (200, "") if src in model.files else (404, "NoSuchKey"), f"copy {src}")
        if r.status == 200:
            model.files[path] = File(model.files[src].data)

    def directory(self, path):
        """The key of a directory: there while it is empty; DELETE removes it then."""
        model = self.model
        empty = path in model.dirs and not model.children(path)
        eq(self.s3.head(f"/model/{path}/").status, 200 if empty else 404, f"HEAD {path}/")
        if self.rng.random() < 0.5:
            return
        eq(self.s3.delete(f"/model/{path}/").status, 204, f"DELETE {path}/")
        if empty:
            model.dirs.discard(path)

    def s3_op(self):
        model, s3, path = self.model, self.s3, self.some_path()
        op = self.rng.choice(["put", "put", "delete", "get", "head", "copy", "create-only", "conditional",
                              "upload", "directory"])
        self.log.append(("s3", op, path))
        # the model of POSIX names knows no file beside a directory of its name
        blocked = model.is_dir(path) or model.way(path) == errno.ENOTDIR
        data = self.data()
        if op in ("put", "create-only", "copy", "upload", "conditional") and blocked:
            return
        if op == "put":
            eq(s3.put(f"/model/{path}", data).status, 200, "PUT")
            model.files[path] = File(data)
        elif op == "upload":
            self.upload(path, data)
            model.files[path] = File(data)
        elif op == "create-only":
            r = s3.put(f"/model/{path}", data, **{"If-None-Match": "*"})
            eq((r.status, r.code()), (412, "PreconditionFailed") if path in model.files else (200, ""), path)
            if r.status == 200:
                model.files[path] = File(data)
        elif op == "conditional":
            self.conditional(path, data)
        elif op == "copy":
            self.copy(path)
        elif op == "delete":
            eq(s3.delete(f"/model/{path}").status, 204, "DELETE")
            model.files.pop(path, None)
        elif op == "directory":
            self.directory(path)
        else:
            r = s3.get(f"/model/{path}") if op == "get" else s3.head(f"/model/{path}")
            eq(r.status, 200 if path in model.files else 404, f"{op} {path}")
            if op == "get" and r.status != 200:
                eq(r.code(), "NoSuchKey", path)
            if op == "get" and r.status == 200 and r.body != model.files[path].data:
                raise AssertionError(f"GET {path}: other bytes")

    # --- everything ---

    def compare_lists(self):
        s3, model = self.s3, self.model
        eq(s3.list("model"), model.keys(), "LIST")
        for _ in range(6):
            prefix = self.rng.choice(["", "", "a", "a/", "a-", "b", "b/", "zz", self.path()])
            delimiter = self.rng.choice(["", "/", "/", "-", "b", "a/"])
            most = self.rng.randint(1, 9)
            eq(
                s3.list("model", prefix=prefix, delimiter=delimiter, max_keys=most),
                model.listing(prefix.encode(), delimiter.encode()),
                f"LIST of {prefix!r}, delimiter {delimiter!r}, in pages of {most}",
            )

    def compare(self):
        self.compare_lists()
        model, seen, dirs = self.model, {}, set()
        top = self.mount.path("model")
        for dirpath, subdirs, files in os.walk(top, onerror=complain):
            rel = os.path.relpath(dirpath, top)
            rel = "" if rel == "." else rel + "/"
            dirs |= {rel + d for d in subdirs}
            for f in files:
                with open(os.path.join(dirpath, f), "rb") as fh:
                    seen[rel + f] = fh.read()
        eq(sorted(seen), sorted(model.files), "files in the mount")
        for k, f in model.files.items():
            assert seen[k] == f.data, f"{k}: other bytes in the mount"
            assert self.s3.get(f"/model/{k}").body == f.data, f"{k}: other bytes in S3"
        eq(sorted(d for d in dirs if not model.is_dir(d)), [], "unknown directories")
        eq(sorted(d for d in model.dirs if d not in dirs), [], "missing directories")

    def fill(self, n):
        """So many names that directories are split."""
        for name in self.rng.sample(self.names[3:], n):
            for d in ("", "a/"):
                data = self.rng.randbytes(20)
                eq(self.s3.put(f"/model/{d}{name}", data).status, 200, "PUT")
                self.model.files[f"{d}{name}"] = File(data)

    def roll(self):
        """So many bytes that there are several segments."""
        for i in range(12):
            data = self.rng.randbytes(1 << 20)
            eq(self.s3.put(f"/model/large{i}", data).status, 200, "PUT")
            self.model.files[f"large{i}"] = File(data)

    def go(self, ops):
        for i in range(ops):
            if self.rng.random() < 0.5:
                self.mount_op()
            else:
                self.s3_op()
            if i % 100 == 99:
                self.compare()
        self.server.restart()
        self.s3 = self.server.s3()
        self.compare()
        assert self.wrong > ops // 20, f"only {self.wrong} operations had to fail"
        self.mount.umount()


def both_doors(rng, seed, shape, ops):
    run = Run(rng, shape)
    try:
        if shape is WIDE:
            run.fill(2 * SPLIT_AT)
            wait_for("splits", lambda: run.server.counts().get("dir_splits", 0) > 1)
        if shape is SMALL:
            run.roll()
            heads = run.server.adm_json("compact-status")["stores"][0]["heads"]
            assert {h["head"]: h["segments"] for h in heads}["bulk"] > 1, f"one segment was enough: {heads}"
        run.go(ops)
    except BaseException:
        for line in run.log[-15:]:
            print(f"# {line}")
        print(f"# seed {seed}, after {len(run.log)} operations")
        raise


def main():
    seed = seed_from_argv()
    t = Tap()
    for name, shape, ops in (
        ("", PLAIN, OPS // 2),
        (", small segments", SMALL, OPS // 4),
        (", directories split", WIDE, OPS // 4),
    ):
        t.run(f"{ops} random operations through both doors{name}", both_doors, random.Random(f"{seed} {name}"),
              seed, shape, ops)
    t.end()


main()
