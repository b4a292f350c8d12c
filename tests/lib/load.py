"""Mixed load from both doors, for tests that break the server meanwhile.

Clients write new keys and remember what was acknowledged (facts), and work on
few shared ones, registers, noting when each operation began and ended
(history.py). Every value has a name of its own from which all its bytes follow,
so whatever is read can be judged alone.

A Load is one round: clients under one prefix, which is new each time. It may
end within a name: then rounds share a directory, which grows.
"""

import json
import os
import random
import subprocess
import sys
import threading
import time
import zlib

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import history
from leo import *

BUCKET = "load"
SIZES = [12, 60, 250, 3000, 9000, 40000, 90000]
# registers, some alone in their directory, which goes and comes with them
PLAIN = ["p0", "q/p1", "q/r/p2"]  # PUT and GET only
MIXED = ["m0", "s/m1", "t/u/m2"]  # and DELETE, create-only, compare-and-swap


def fill(name):
    """The bytes of the value of that name."""
    h = zlib.crc32(name.encode())
    size = SIZES[h % len(SIZES)] + h // 16 % 50
    if h % 61 == 0:
        size = 5 * 1024 * 1024 + h % 100000
    unit = f"{name}:{h:x}:".encode()
    return (unit * (size // len(unit) + 1))[: max(size, len(unit))]


def name_of(body):
    """The name of a value; wrong bytes are an error."""
    name = body.split(b":", 1)[0].decode(errors="replace")
    if body != fill(name):
        raise AssertionError(f"wrong bytes: {len(body)} of {body[:60]!r}...")
    return name


class Wrong(AssertionError):
    """An answer that no outage explains."""


class S3Client(threading.Thread):
    def __init__(self, load, name):
        super().__init__(daemon=True)
        self.load, self.name_, self.n = load, name, 0
        self.rng = random.Random(f"{load.seed} {name}")
        self.rec = history.Recorder()
        self.facts = {}  # key -> name of the value
        self.etags = {}  # ETag -> name of the value
        self.wrong = None
        self.s3 = None  # connected, or None

    def fresh(self):
        self.n += 1
        return f"{self.load.prefix}{self.name_}.{self.n}".replace("/", "-")

    def path(self, key):
        return f"/{BUCKET}/{self.load.prefix}{key}"

    def answer(self, r, *good):
        """r's status, which is one of good; else nobody knows what happened."""
        if r.status in good:
            return r.status
        if r.status in (500, 503, 504, 507):
            raise OSError(f"answered {r.status}")
        raise Wrong(f"{self.name_}: {r}")

    def put(self, key, value, **conditions):
        body = fill(value)
        r = self.s3.put(self.path(key), body, **conditions)
        good = (200, 412, 404, 409) if conditions else (200,)
        if self.answer(r, *good) == 200:
            self.etags[r.header("etag")] = value
        return r.status == 200

    def get(self, key):
        r = self.s3.get(self.path(key))
        if self.answer(r, 200, 404) == 404:
            return None
        value = name_of(r.body)
        self.etags[r.header("etag")] = value
        return value

    def multipart(self, key, value):
        body = fill(value)
        path = self.path(key)
        r = self.s3.request("POST", path, query=[("uploads", "")])
        self.answer(r, 200)
        upload = r.body.split(b"<UploadId>")[1].split(b"</UploadId>")[0].decode()
        cut = 5 * 1024 * 1024 if len(body) > 5 * 1024 * 1024 else len(body)
        done = ""
        for i, part in enumerate(p for p in (body[:cut], body[cut:]) if p):
            q = [("partNumber", str(i + 1)), ("uploadId", upload)]
            r = self.s3.request("PUT", path, query=q, body=part)
            self.answer(r, 200)
            done += f"<Part><PartNumber>{i + 1}</PartNumber><ETag>{r.header('etag')}</ETag></Part>"
        r = self.s3.request(
            "POST", path, query=[("uploadId", upload)],
            body=f"<CompleteMultipartUpload>{done}</CompleteMultipartUpload>",
        )
        self.answer(r, 200)
        if b"<Error>" in r.body:
            raise OSError("complete failed late")

    def new_key(self):
        value = self.fresh()
        key = f"d{self.n % 3}/{value}" if self.n % 4 else value
        if self.n % 11 == 0:
            self.multipart(key, value)
        else:
            self.put(key, value)
        self.facts[key] = value

    def swap(self, key):
        """Compare-and-swap on an ETag that this client has seen, or create."""
        value = self.fresh()
        etag = self.rng.choice(sorted(self.etags) or [None])
        if etag is None or self.rng.random() < 0.4:
            old, cond = None, {"If-None-Match": "*"}
        else:
            old, cond = self.etags[etag], {"If-Match": etag}
        self.rec.cas(key, old, value, lambda: self.put(key, value, **cond))

    def step(self):
        what = self.rng.choice(["new", "get", "get", "put", "mixed", "mixed", "mixed"])
        key = self.rng.choice(MIXED if what == "mixed" else PLAIN)
        if what == "new":
            self.new_key()
        elif what == "get":
            self.rec.read(key, lambda: self.get(key))
        elif what == "put":
            value = self.fresh()
            self.rec.write(key, value, lambda: self.put(key, value))
        else:
            how = self.rng.random()
            if how < 0.3:
                self.rec.read(key, lambda: self.get(key))
            elif how < 0.5:
                value = self.fresh()
                self.rec.write(key, value, lambda: self.put(key, value))
            elif how < 0.65:
                self.rec.write(key, None, lambda: self.answer(self.s3.delete(self.path(key)), 204))
            else:
                self.swap(key)

    def connect(self):
        """A server that is away is no request whose outcome nobody knows."""
        s3 = self.load.server.s3()
        s3.once = True
        s3.connect()
        self.s3 = s3

    def run(self):
        while not self.load.halt.is_set():
            try:
                if self.s3 is None:
                    self.connect()
                self.step()
            except AssertionError as err:
                self.wrong = err
                return
            except Exception:
                self.s3 = None
                time.sleep(0.01)


# --- through the mount: a process of its own ---
#
# A file held open by the process that starts servers would be closed by its
# child before exec, and that close waits for the server.


class Files:
    def __init__(self, top, prefix, seed):
        self.top, self.prefix, self.n = top, prefix, 0
        self.rng = random.Random(f"{seed} files")
        self.log = 0

    def fresh(self):
        self.n += 1
        return f"{self.prefix}mount.{self.n}".replace("/", "-")

    def path(self, key):
        return os.path.join(self.top, self.prefix + key)

    def say(self, **what):
        print(json.dumps(what), flush=True)

    def save(self, key, value):
        """Write, fsync, rename: as careful programs do."""
        os.makedirs(os.path.dirname(self.path(key)), exist_ok=True)
        tmp = self.path(f".tmp{self.n}")
        with open(tmp, "wb") as f:
            f.write(fill(value))
            f.flush()
            os.fsync(f.fileno())
        os.rename(tmp, self.path(key))

    def read(self, key):
        try:
            with open(self.path(key), "rb") as f:
                return name_of(f.read())
        except FileNotFoundError:
            return None

    def note(self, key, kind, arg, fn):
        start = time.monotonic()
        try:
            got = fn()
        except OSError:
            if kind == "w":
                self.say(op=[key, kind, arg, True, start, None])
            raise
        self.say(op=[key, kind, got if kind == "r" else arg, True, start, time.monotonic()])

    def append(self):
        line = f"line {self.log}\n".encode()
        with open(self.path("log"), "ab") as f:
            f.write(line)
            f.flush()
            os.fsync(f.fileno())
        self.say(line=self.log)

    def step(self):
        what = self.rng.choice(["new", "read", "read", "write", "log"])
        key = self.rng.choice(PLAIN + MIXED)
        if what == "new":
            value = self.fresh()
            key = f"f{self.n % 3}/{value}" if self.n % 4 else value
            self.save(key, value)
            self.say(fact=[key, value])
        elif what == "log":
            self.log += 1
            self.append()
        elif what == "read":
            self.note(key, "r", None, lambda: self.read(key))
        else:
            value = self.fresh()
            self.note(key, "w", value, lambda: self.save(key, value))

    def run(self):
        halt = threading.Event()
        threading.Thread(target=lambda: (sys.stdin.read(), halt.set()), daemon=True).start()
        while not halt.is_set():
            try:
                self.step()
            except AssertionError as err:
                self.say(wrong=str(err))
                return
            except OSError:
                time.sleep(0.01)


class FilesClient:
    """The same from the side of the test."""

    def __init__(self, load, mount):
        self.child = subprocess.Popen(
            [sys.executable, os.path.abspath(__file__), mount.path(BUCKET), load.prefix, str(load.seed)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        self.rec = history.Recorder()
        self.facts, self.lines, self.wrong = {}, [], None
        self.reader = threading.Thread(target=self.collect, daemon=True)
        self.reader.start()

    def collect(self):
        for text in self.child.stdout:
            what = json.loads(text)
            if "op" in what:
                key, kind, arg, ok, start, end = what["op"]
                end = history.NEVER if end is None else end
                self.rec.ops.append(history.Op(key, kind, arg, ok, start, end))
            elif "fact" in what:
                self.facts[what["fact"][0]] = what["fact"][1]
            elif "line" in what:
                self.lines.append(what["line"])
            else:
                self.wrong = what["wrong"]

    def halt(self):
        self.child.stdin.close()

    def join(self, seconds):
        self.child.wait(seconds)
        self.reader.join(seconds)


class Load:
    def __init__(self, server, mount, prefix, seed, clients=3):
        self.server, self.mount = server, mount
        self.prefix, self.seed = prefix, seed
        self.halt = threading.Event()
        self.clients = [S3Client(self, f"c{i}") for i in range(clients)]
        self.files = FilesClient(self, mount) if mount else None
        for c in self.clients:
            c.start()

    def stop(self):
        self.halt.set()
        if self.files:
            self.files.halt()
        for c in self.clients:
            c.join(60 * SLOW)
            assert not c.is_alive(), "a client hangs"
        if self.files:
            self.files.join(60 * SLOW)

    def everybody(self):
        return self.clients + ([self.files] if self.files else [])

    def acked(self):
        return sum(len(c.facts) for c in self.everybody()) + (len(self.files.lines) if self.files else 0)

    def unknown(self):
        return sum(op.end == history.NEVER for c in self.everybody() for op in c.rec.ops)

    def check_facts(self):
        s3 = self.server.s3()
        listed = set(s3.list(BUCKET, prefix=self.prefix))
        for c in self.everybody():
            for key, value in c.facts.items():
                r = s3.get(f"/{BUCKET}/{self.prefix}{key}")
                eq(r.status, 200, f"acknowledged {key}")
                eq(name_of(r.body), value, f"acknowledged {key}")
                assert f"{self.prefix}{key}".encode() in listed, f"{key} is not listed"
        if self.files and self.files.lines:
            lines = s3.get(f"/{BUCKET}/{self.prefix}log").body.decode().split("\n")
            eq(lines.pop(), "", "the log ends with a whole line")
            numbers = [int(text.removeprefix("line ")) for text in lines]
            eq(numbers, sorted(set(numbers)), "lines in order, each once")
            missing = set(self.files.lines) - set(numbers)
            assert not missing, f"acknowledged lines are gone: {sorted(missing)[:5]}"

    def check(self):
        """Facts, then the history with a last look at every register."""
        for c in self.everybody():
            if c.wrong:
                raise AssertionError(c.wrong)
        self.check_facts()
        last = S3Client(self, "last")
        last.connect()
        for key in PLAIN + MIXED:
            last.rec.read(key, lambda key=key: last.get(key))
        ops = sum((c.rec.ops for c in self.everybody()), last.rec.ops)
        wrong = history.check(ops)
        if wrong:
            for op in sorted(ops, key=lambda op: op.start):
                if wrong.startswith(f"key {op.key}:"):
                    print(f"# {op.start:.6f} {op.end:.6f} {op.kind} {op.arg} {op.ok}")
            raise AssertionError(f"not linearizable: {wrong}")
        return len(ops)


if __name__ == "__main__":
    Files(sys.argv[1], sys.argv[2], sys.argv[3]).run()
