#!/usr/bin/env python3
"""The mount's table of docs/PERFORMANCE.md, as markdown, from one command.

    tests/bench/mount.py --fsload PROGRAM [--build DIR]... [ROW...]

PROGRAM is the load generator (not part of this tree; its options are those
used below). Each --build names a build directory to measure (default: build);
with two, run by run in alternation, one can be set against the other on a
machine that others use. A plain directory of the file system that holds the
store is measured as the last of each round: what an operation costs there is
the yardstick, since rates drift with the machine.

CPU is user + system of the server and of leo-mount. --memory measures each
build once more with durability memory. --quick makes all of it short, to try it out.
"""

import argparse
import os
import random
import shutil
import statistics
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import leo

# name: (what it is, threads, files per thread, fsload's operations; the last
# of them is measured, the others prepare it: while "write" makes files, what
# the kernel knows of those of "create" gets too old)
FILES = {
    "create1": ("create, 1 thread", 1, 4000, "create"),
    "create8": ("create, 8 threads", 8, 2000, "create"),
    "stat1": ("stat, not cached by the kernel, 1", 1, 4000, "create,write,stat"),
    "stat8": ("stat, not cached by the kernel, 8", 8, 2000, "create,write,stat"),
    "unlink1": ("unlink, 1", 1, 4000, "create,unlink"),
    "unlink8": ("unlink, 8", 8, 2000, "create,unlink"),
    "write1": ("new file of 4 KiB, 1", 1, 4000, "write"),
    "write8": ("new file of 4 KiB, 8", 8, 2000, "write"),
    "read1": ("read of 4 KiB, 1", 1, 4000, "write,read"),
    "fsync1": ("overwrite and fsync of 4 KiB, 1", 1, 4000, "write,fsync"),
    "rename1": ("rename, 1", 1, 4000, "write,rename"),
    "readdir1": ("readdir, entries, 1", 1, 4000, "create,readdir"),
}
OTHERS = {
    "clone": "git clone of 2,400 files",
    "write": "sequential write of 2 GiB and fsync, MB",
    "seqread": "sequential read of 2 GiB, MB",
    "randread": "read of 8 KiB somewhere in 2 GiB, 1",
}
MIB = 1 << 20
TICK = os.sysconf("SC_CLK_TCK")


def cpu_of(pids):
    """User + system seconds of processes."""
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/stat") as f:
            total += sum(map(int, f.read().rsplit(")", 1)[1].split()[11:13]))
    return total / TICK


def drop_caches():
    """Of the kernel: names, attributes and pages; needs root."""
    os.sync()
    try:
        with open("/proc/sys/vm/drop_caches", "w") as f:
            f.write("3\n")
    except OSError as err:
        raise SystemExit(f"cannot drop the kernel's caches: {err}")


class Plain:
    """A directory of the file system below."""

    name = "plain"
    pids = []

    def __init__(self, where):
        self.dir = os.path.join(where, "plain")

    def start(self):
        os.makedirs(self.dir)

    def fresh(self):
        drop_caches()

    def stop(self):
        shutil.rmtree(self.dir)


class Mounted:
    """A store of one build, mounted."""

    def __init__(self, name, build, where, durability="disk"):
        self.name, self.build, self.durability = name, build, durability
        self.base = os.path.join(where, "leofs-" + name)

    def start(self):
        os.makedirs(self.base)
        leo.LEOFS = os.path.join(self.build, "leofs", "leofs")
        leo.MOUNT = os.path.join(self.build, "fuse", "leo-mount")
        extra = [] if self.durability == "disk" else ["--set", f"durability={self.durability}"]
        self.server = leo.Server(loops=os.cpu_count(), base=self.base, extra=extra)
        leo.eq(self.server.s3().put("/bench").status, 200, "bucket")
        self.mount = leo.Mount(self.server, "/bench")
        self.opened()

    def opened(self):
        self.dir = self.mount.dir
        self.pids = [self.server.procs[0].pid, self.mount.proc.pid]

    def fresh(self):
        """Nothing known to the server, the mount or the kernel."""
        leo.LEOFS = os.path.join(self.build, "leofs", "leofs")
        leo.MOUNT = os.path.join(self.build, "fuse", "leo-mount")
        self.mount.umount()
        for p in self.server.procs:
            p.stop()
        drop_caches()
        self.server.start()
        self.mount.start()
        self.opened()

    def stop(self):
        self.mount.umount()
        self.server.kill()
        shutil.rmtree(self.base)


class Bench:
    def __init__(self, args, where):
        self.args, self.where = args, where
        self.run = 0
        self.repo = None

    def targets(self):
        names = ["leofs"] + [f"b{i}" for i in range(1, len(self.args.build))]
        stores = []
        for name, build in zip(names, self.args.build):
            stores.append(Mounted(name, build, self.where))
            if self.args.memory:
                stores.append(Mounted(f"{name}-memory", build, self.where, "memory"))
        return stores + [Plain(self.where)]

    # --- small files ---

    def files(self, t, row):
        what, threads, files, ops = FILES[row]
        files = files // 20 if self.args.quick else files
        last = ops.split(",")[-1]
        cmd = [self.args.fsload, t.dir, "-t", threads, "-n", files, "-s", 4096, "-o", ops]
        cmd += ["-p", ",".join(map(str, t.pids))] if t.pids else []
        p = subprocess.run([str(c) for c in cmd], capture_output=True, text=True)
        if p.returncode != 0:
            raise SystemExit(f"{' '.join(map(str, cmd))}: {p.stdout}{p.stderr}")
        for left in os.listdir(t.dir):
            if left.startswith("fsload."):
                shutil.rmtree(os.path.join(t.dir, left))
        for line in p.stdout.splitlines():
            got = dict(w.split("=") for w in line.split())
            if got["op"] == last:
                return {
                    "rate": float(got["ops_s"]), "p50": float(got["p50_us"]),
                    "p99": float(got["p99_us"]), "cpu": float(got.get("cpu_s_per_1k", 0)),
                }
        raise SystemExit(f"fsload says nothing of {last}: {p.stdout}")

    # --- clone, streams ---

    def timed(self, t, units, what):
        cpu, began = cpu_of(t.pids), time.monotonic()
        what()
        took = time.monotonic() - began
        return {"rate": units / took, "took": took, "cpu": (cpu_of(t.pids) - cpu) * 1000 / units}

    def make_repo(self):
        """A repository of 2,400 files, always the same."""
        rng = random.Random(2400)
        self.repo = os.path.join(self.where, "repo")
        words = [f"word{i}" for i in range(3000)]
        for i in range(2400):
            path = os.path.join(self.repo, f"d{i % 24:02}", f"e{i % 5}", f"file{i:04}.c")
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w") as f:
                for _ in range(int(rng.expovariate(1 / 120)) + 5):
                    f.write(" ".join(rng.choices(words, k=8)) + "\n")
        git = ["git", "-C", self.repo, "-c", "user.name=bench", "-c", "user.email=bench@localhost"]
        for args in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "All"], ["repack", "-adq"]):
            subprocess.run(git + args, check=True)

    def clone(self, t):
        if self.repo is None:
            self.make_repo()
        to = os.path.join(t.dir, f"clone{self.run}")
        got = self.timed(t, 2400, lambda: subprocess.run(["git", "clone", "-q", f"file://{self.repo}", to], check=True))
        shutil.rmtree(to)
        return got

    def stream_bytes(self):
        return (64 if self.args.quick else 2048) * MIB

    def write(self, t):
        """2 GiB in pieces of 1 MiB, then fsync."""
        piece = random.Random(1).randbytes(MIB)

        def fill():
            with open(os.path.join(t.dir, "stream"), "wb", buffering=0) as f:
                for _ in range(self.stream_bytes() // MIB):
                    f.write(piece)
                os.fsync(f.fileno())

        return self.timed(t, self.stream_bytes() / 1e6, fill)

    def seqread(self, t):
        path = os.path.join(t.dir, "stream")
        if not os.path.exists(path):
            self.write(t)
        t.fresh()
        path = os.path.join(t.dir, "stream")
        buf = bytearray(MIB)

        def drain():
            n = 0
            with open(path, "rb", buffering=0) as f:
                while got := f.readinto(buf):
                    n += got
            leo.eq(n, self.stream_bytes(), "bytes read")

        return self.timed(t, self.stream_bytes() / 1e6, drain)

    def randread(self, t):
        """Twice as many reads as there are chunks of 4 MiB, before the measured ones."""
        path = os.path.join(t.dir, "stream")
        if not os.path.exists(path):
            self.write(t)
        t.fresh()
        rng, size = random.Random(8), self.stream_bytes()

        def reads(n):
            with open(os.path.join(t.dir, "stream"), "rb", buffering=0) as f:
                os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
                for _ in range(n):
                    leo.eq(len(os.pread(f.fileno(), 8192, rng.randrange(size // 8192) * 8192)), 8192, "bytes read")

        reads(size // (2 * MIB))
        n = 200 if self.args.quick else 20000
        return self.timed(t, n, lambda: reads(n))

    # --- the table ---

    def row(self, row):
        targets = self.targets()
        results = {t.name: [] for t in targets}
        for t in targets:
            t.start()
        for _ in range(self.args.runs):
            for t in targets:
                self.run += 1
                results[t.name].append(self.files(t, row) if row in FILES else getattr(self, row)(t))
        for t in targets:
            t.stop()
        what = FILES[row][0] if row in FILES else OTHERS[row]

        def med(t, key):
            return statistics.median(r.get(key, 0) for r in results[t.name])

        for t in targets:
            rates = [r["rate"] for r in results[t.name]]
            ratio = "" if t is targets[-1] else f"{med(t, 'rate') / med(targets[-1], 'rate'):.3f}"
            more = f"{med(t, 'took'):.2f} s" if row in OTHERS else f"{med(t, 'p50'):.0f} / {med(t, 'p99'):.0f}"
            print(f"| {row}: {what} | {t.name} | {med(t, 'rate'):,.0f} ({min(rates):,.0f}-{max(rates):,.0f}) "
                  f"| {more} | {med(t, 'cpu'):.3f} | {ratio} |", flush=True)

    def table(self, rows):
        print(f"Medians of {self.args.runs} runs; 1 MB is 10^6 bytes.\n")
        print("| row | of | rate /s (least-most) | p50 / p99 us, or seconds "
              "| CPU s per 1,000, or per GB | rate to plain |")
        print("|---|---|---|---|---|---|")
        for row in rows:
            self.row(row)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--fsload", required=True)
    p.add_argument("--build", action="append")
    p.add_argument("--memory", action="store_true")
    p.add_argument("--runs", type=int, default=5)
    p.add_argument("--quick", action="store_true")
    p.add_argument("rows", nargs="*", metavar="ROW")
    args = p.parse_args()
    args.build = [os.path.abspath(b) for b in args.build or [os.path.join(leo.TOP, "build")]]
    args.fsload = os.path.abspath(args.fsload)
    known = [*FILES, *OTHERS]
    for row in args.rows:
        if row not in known:
            p.error(f"what is {row}? There are: {' '.join(known)}")
    Bench(args, leo.tmpdir()).table(args.rows or known)


main()
