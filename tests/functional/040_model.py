#!/usr/bin/env python3
"""Random operations through both doors against a model held in this program."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from leo import *

OPS = int(os.environ.get("LEO_MODEL_OPS", "600"))
NAMES = ["a", "b", "c", "a-b", "d"]


class Model:
    """files: key -> bytes; dirs: explicit directories (keys without slash)."""

    def __init__(self):
        self.files = {}
        self.dirs = set()

    def is_dir(self, path):
        return path == "" or path in self.dirs or any(k.startswith(path + "/") for k in self.files) or any(
            d.startswith(path + "/") for d in self.dirs
        )

    def children(self, path):
        start = path + "/" if path else ""
        out = set()
        for k in list(self.files) + list(self.dirs):
            if k.startswith(start) and k != path:
                out.add(k[len(start):].split("/")[0])
        return out

    def keys(self):
        """What LIST shows: files, and directories with nothing in them."""
        out = list(self.files)
        out += [d + "/" for d in self.dirs if not self.children(d)]
        return sorted(k.encode() for k in out)

    def parent_explicit(self, path):
        """A last name that the mount takes away leaves its directory explicit."""
        parent = os.path.dirname(path)
        if parent and not self.children(parent):
            self.dirs.add(parent)

    def make_parents_explicit(self, path):
        parent = os.path.dirname(path)
        while parent:
            self.dirs.add(parent)
            parent = os.path.dirname(parent)


def random_path(rng):
    return "/".join(rng.choice(NAMES) for _ in range(rng.randint(1, 3)))


def mount_op(rng, model, mount, log):
    path = random_path(rng)
    full = mount.path("model", path)
    parent = os.path.dirname(path)
    op = rng.choice(["write", "write", "append", "mkdir", "unlink", "rmdir", "rename", "truncate"])
    log.append(("mount", op, path))
    ok_parent = model.is_dir(parent)
    data = os.urandom(rng.choice([0, 10, 5000, 40000]))
    try:
        if op == "write":
            with open(full, "wb") as f:
                f.write(data)
            assert ok_parent and not model.is_dir(path), "write should have failed"
            model.files[path] = data
        elif op == "append":
            with open(full, "ab") as f:
                f.write(data)
            assert ok_parent and not model.is_dir(path), "append should have failed"
            model.files[path] = model.files.get(path, b"") + data
        elif op == "truncate":
            size = rng.randint(0, 6000)
            os.truncate(full, size)
            old = model.files[path]
            model.files[path] = old[:size] + b"\0" * (size - len(old))
        elif op == "mkdir":
            os.mkdir(full)
            assert ok_parent and not model.is_dir(path) and path not in model.files
            model.dirs.add(path)
        elif op == "unlink":
            os.unlink(full)
            del model.files[path]
            model.parent_explicit(path)
        elif op == "rmdir":
            os.rmdir(full)
            assert model.is_dir(path) and not model.children(path)
            model.dirs.discard(path)
            model.parent_explicit(path)
        elif op == "rename":
            to = random_path(rng)
            log[-1] += (to,)
            os.rename(full, mount.path("model", to))
            if to == path:
                return
            if model.is_dir(path):
                assert not model.children(to), "rename over a full directory"
                moved_f = {k: v for k, v in model.files.items() if k.startswith(path + "/")}
                moved_d = {d for d in model.dirs if d.startswith(path + "/") or d == path}
                for k in moved_f:
                    del model.files[k]
                was = path in model.dirs
                model.dirs -= moved_d
                model.dirs.discard(to)
                for k, v in moved_f.items():
                    model.files[to + k[len(path):]] = v
                for d in moved_d:
                    model.dirs.add(to + d[len(path):])
                if was:
                    model.dirs.add(to)
            else:
                model.files[to] = model.files.pop(path)
            model.parent_explicit(path)
    except OSError as err:
        log[-1] += (err.strerror,)
        possible = {
            "write": ok_parent and not model.is_dir(path),
            "append": ok_parent and not model.is_dir(path),
            "truncate": path in model.files and not model.is_dir(path),
            "mkdir": ok_parent and not model.is_dir(path) and path not in model.files,
            "unlink": path in model.files,
            "rmdir": path in model.dirs and not model.children(path),
            "rename": False,
        }[op]
        if possible:
            raise AssertionError(f"{op} {path}: {err}")


def s3_op(rng, model, s3, log):
    path = random_path(rng)
    op = rng.choice(["put", "put", "delete", "get", "head", "copy", "create-only"])
    log.append(("s3", op, path))
    # the model of POSIX names knows no file beside a directory of its name
    blocked = model.is_dir(path) or any(
        "/".join(path.split("/")[:i]) in model.files for i in range(1, path.count("/") + 1)
    )
    data = os.urandom(rng.choice([0, 100, 3000, 30000]))
    if op in ("put", "create-only", "copy") and blocked:
        return
    if op == "put":
        eq(s3.put(f"/model/{path}", data).status, 200, "PUT")
        model.files[path] = data
    elif op == "create-only":
        r = s3.put(f"/model/{path}", data, **{"If-None-Match": "*"})
        eq(r.status, 412 if path in model.files else 200, f"create-only {path}")
        if r.status == 200:
            model.files[path] = data
    elif op == "copy":
        src = rng.choice(sorted(model.files) or ["nothing"])
        r = s3.put(f"/model/{path}", **{"x-amz-copy-source": f"/model/{src}"})
        if src == path:
            return
        eq(r.status, 200 if src in model.files else 404, f"copy {src}")
        if r.status == 200:
            model.files[path] = model.files[src]
    elif op == "delete":
        eq(s3.delete(f"/model/{path}").status, 204, "DELETE")
        model.files.pop(path, None)
    else:
        r = s3.get(f"/model/{path}") if op == "get" else s3.head(f"/model/{path}")
        eq(r.status, 200 if path in model.files else 404, f"{op} {path}")
        if op == "get" and r.status == 200 and r.body != model.files[path]:
            raise AssertionError(f"GET {path}: other bytes")


def compare(model, server, mount):
    s3 = server.s3()
    eq(s3.list("model"), model.keys(), "LIST")
    seen = {}
    dirs = set()
    top = mount.path("model")
    for dirpath, subdirs, files in os.walk(top):
        rel = os.path.relpath(dirpath, top)
        rel = "" if rel == "." else rel + "/"
        dirs |= {rel + d for d in subdirs}
        for f in files:
            with open(os.path.join(dirpath, f), "rb") as fh:
                seen[rel + f] = fh.read()
    eq(sorted(seen), sorted(model.files), "files in the mount")
    for k, v in model.files.items():
        if seen[k] != v:
            raise AssertionError(f"{k}: other bytes in the mount")
        if s3.get(f"/model/{k}").body != v:
            raise AssertionError(f"{k}: other bytes in S3")
    eq(sorted(d for d in dirs if not model.is_dir(d)), [], "unknown directories")
    eq(sorted(d for d in model.dirs if d not in dirs), [], "missing directories")


def both_doors(rng, seed):
    server = Server(spread=1)
    # names change behind the kernel's back here: it shall ask each time
    mount = Mount(server, options="entry_timeout=0,attr_timeout=0")
    s3 = server.s3()
    eq(s3.put("/model").status, 200, "bucket")
    model, log = Model(), []
    try:
        for i in range(OPS):
            if rng.random() < 0.5:
                mount_op(rng, model, mount, log)
            else:
                s3_op(rng, model, s3, log)
            if i % 100 == 99:
                compare(model, server, mount)
        server.restart()
        compare(model, server, mount)
    except BaseException:
        for line in log[-15:]:
            print(f"# {line}")
        print(f"# seed {seed}, after {len(log)} operations")
        raise


def main():
    seed = seed_from_argv()
    t = Tap()
    t.run(f"{OPS} random operations through both doors", both_doors, random.Random(seed), seed)
    t.end()


main()
