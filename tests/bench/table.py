#!/usr/bin/env python3
"""The tables of docs/PERFORMANCE.md, as markdown, from one command.

    tests/bench/table.py --s3load PROGRAM [--build DIR]... [PART...]

PROGRAM is the load generator (not part of this tree; table.sh builds it, its
options are those used below). Each --build names a build directory to
measure (default: build); with two, the first is set against the second, run by
run in alternation, which is the only comparison of rates to trust on a machine
that others use. nginx (package nginx-light: static files, dav PUT, no hash, no
signature, no sync) is measured as the last of each round, on a port and a
directory of its own; where it is missing, the rows say so.

PART: rows (the S3 rows), names (cost from 10^3 to 10^6 names), idle, memory,
ready, written (bytes written per byte stored), hostile (10,000 idle
connections); or names of rows. Without one: all. --memory measures each build
once more with durability memory (rows only). --quick makes all of it short, to
try it out. --keys N... (behind PART): with how many names `ready` starts again;
100000 and 1000000 are those that have a goal.

Everything lies in a fresh directory below --dir (default: the system's) and is
removed; up to 30 GB are needed at a time, about 45 minutes for all.
"""

import argparse
import http.client
import json
import os
import platform
import shlex
import shutil
import socket
import statistics
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import leo

# name: (what it is, mode, size, connections, keys read or deleted, extra)
ROWS = {
    "put16": ("1 KiB PUT, 16 connections", "put", "1K", 16, 0, []),
    "puts16": ("1 KiB PUT, 16, random order", "put", "1K", 16, 0, ["--scatter"]),
    "put1": ("1 KiB PUT, 1", "put", "1K", 1, 0, []),
    "get16": ("1 KiB GET, 16", "get", "1K", 16, 20000, []),
    "get1": ("1 KiB GET, 1", "get", "1K", 1, 20000, []),
    "head16": ("1 KiB HEAD, 16", "head", "1K", 16, 20000, []),
    "del16": ("1 KiB DELETE, 16", "delete", "1K", 16, 120000, []),
    "dels16": ("1 KiB DELETE, 16, random order", "delete", "1K", 16, 120000, ["--scatter"]),
    "put64k": ("64 KiB PUT, 16", "put", "64K", 16, 0, []),
    "get64k": ("64 KiB GET, 16", "get", "64K", 16, 4000, []),
    "put1m": ("1 MiB PUT, 16", "put", "1M", 16, 0, []),
    "get1m": ("1 MiB GET, 16", "get", "1M", 16, 400, []),
    "put64m1": ("64 MiB PUT, 1", "put", "64M", 1, 0, []),
    "put64m16": ("64 MiB PUT, 16", "put", "64M", 16, 0, []),
    "get64m1": ("64 MiB GET, 1", "get", "64M", 1, 12, []),
    "get64m16": ("64 MiB GET, 16", "get", "64M", 16, 12, []),
    "list": ("LIST of 100,000 keys, 1", "list", "16", 1, 100000, []),
}
# row: (rate, server CPU s per 1,000, times nginx's rate)
GOALS = {
    "put16": ("15k", "0.08", "1.1"),
    "puts16": ("15k", "0.08", "1.1"),
    "put1": ("2.5k", "", ""),
    "get16": ("30k", "0.045", "0.5"),
    "head16": ("35k", "0.045", ""),
    "get1": ("7k", "", ""),
    "del16": ("15k", "0.08", ""),
    "dels16": ("15k", "0.08", ""),
    "put64k": ("5k", "0.25", "0.7"),
    "get64k": ("18k", "0.07", "0.6"),
    "put1m": ("450", "2.6", "0.65"),
    "get1m": ("2.3k", "0.5", "0.8"),
    "put64m1": ("8", "170", ""),
    "put64m16": ("8", "170", ""),
    "get64m1": ("32", "16", ""),
    "get64m16": ("50", "16", ""),
    "list": ("400k keys", "2.5 per 10^6 keys", ""),
}
PARTS = ["rows", "names", "idle", "memory", "ready", "written", "hostile"]
NGINX_CONF = """
daemon off;
pid {base}/nginx.pid;
error_log {base}/error.log crit;
worker_processes auto;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    sendfile on;
    tcp_nodelay on;
    keepalive_requests 1000000000;
    client_max_body_size 0;
    client_body_buffer_size 128k;
    client_body_temp_path {base}/tmp;
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        root {base}/www;
        dav_methods PUT DELETE;
        create_full_put_path on;
    }}
}}
"""


def proc_status(pid, field):
    """A field of /proc/PID/status in MiB."""
    with open(f"/proc/{pid}/status") as f:
        for line in f:
            if line.startswith(field + ":"):
                return int(line.split()[1]) / 1024
    return 0.0


def cpu_seconds(pids):
    """User + system seconds of processes."""
    ticks = 0
    for pid in pids:
        with open(f"/proc/{pid}/stat") as f:
            ticks += sum(map(int, f.read().rsplit(")", 1)[1].split()[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def proc_written(pid):
    """Bytes handed to write calls. (write_bytes counts whole large folios.)"""
    with open(f"/proc/{pid}/io") as f:
        return next(int(x.split()[1]) for x in f if x.startswith("wchar:"))


def device_written(path):
    """Bytes written to the device below path, by anybody; 0 when unknown."""
    dev = os.stat(path).st_dev
    try:
        with open(f"/sys/dev/block/{os.major(dev)}:{os.minor(dev)}/stat") as f:
            return int(f.read().split()[6]) * 512
    except OSError:
        return 0


class Leofs:
    """`leofs server` of one build."""

    bucket = "bench"

    def __init__(self, name, build, where, durability="disk"):
        self.name, self.build = name, build
        self.base = os.path.join(where, "leofs-" + name)
        self.extra = [] if durability == "disk" else ["--set", f"durability={durability}"]
        self.server = None

    def start(self):
        os.makedirs(self.base, exist_ok=True)
        leo.LEOFS = os.path.join(self.build, "leofs", "leofs")
        self.server = leo.Server(loops=os.cpu_count(), base=self.base, extra=self.extra)
        self.port, self.pids = self.server.port, [self.server.procs[0].pid]
        access, secret = self.server.credentials()
        self.auth = ["--access", access, "--secret", secret]

    def start_only(self):
        os.makedirs(self.base, exist_ok=True)
        leo.LEOFS = os.path.join(self.build, "leofs", "leofs")
        self.server = self.server or leo.Server(loops=os.cpu_count(), base=self.base, extra=self.extra, start=False)
        self.server.fsck_wanted = False
        self.server.start(wait=False)

    def stop(self):
        if self.server is not None:
            self.server.kill()
        shutil.rmtree(self.base, ignore_errors=True)


class Nginx:
    name = "nginx"

    def __init__(self, where):
        self.base = os.path.join(where, "nginx")
        self.auth = []
        self.proc = None

    def start(self):
        for d in ("www/bench", "tmp"):
            os.makedirs(os.path.join(self.base, d), exist_ok=True)
        os.chmod(self.base, 0o755)
        os.system(f"chmod -R 777 {self.base}/www {self.base}/tmp")
        self.port = leo.free_port()
        conf = os.path.join(self.base, "nginx.conf")
        with open(conf, "w") as f:
            f.write(NGINX_CONF.format(base=self.base, port=self.port))
        cmd = ["nginx", "-p", self.base, "-c", conf]
        self.proc = leo.Process("nginx", cmd, os.path.join(self.base, "log"))
        leo.wait_for("nginx", self.up)

    def up(self):
        with open(f"/proc/{self.proc.pid}/task/{self.proc.pid}/children") as f:
            self.pids = [self.proc.pid] + [int(x) for x in f.read().split()]
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return len(self.pids) > 1

    def stop(self):
        if self.proc is not None:
            self.proc.stop()
        shutil.rmtree(self.base, ignore_errors=True)


class Bench:
    def __init__(self, args, where):
        self.args, self.where = args, where
        self.run = 0
        self.seconds = args.seconds
        self.commands = {}
        self.failed = False  # a row: the others are measured all the same

    def targets(self, nginx=True):
        out = []
        for i, b in enumerate(self.args.build):
            out.append(Leofs(f"b{i}" if i else "leofs", b, self.where))
            if self.args.memory:
                out.append(Leofs(f"{out[-1].name}-memory", b, self.where, "memory"))
        if nginx and not self.args.no_nginx:
            out.append(Nginx(self.where))
        return out

    def load(self, t, mode, *more, fill=False):
        cmd = [self.args.s3load, mode, "--port", t.port, *t.auth, *more]
        if not fill:
            self.command = cmd[1:]
        cmd += ["--pids", ",".join(map(str, t.pids)), "--json"]
        p = subprocess.run([str(c) for c in cmd], capture_output=True, text=True)
        if p.returncode != 0 and (p.returncode != 1 or mode == "mkbucket" or fill):
            raise SystemExit(f"{' '.join(map(str, cmd))}: {p.stdout}{p.stderr}")
        return json.loads(p.stdout) if p.stdout else None

    def start(self, t):
        t.start()
        if t.name != "nginx":
            self.load(t, "mkbucket")

    # --- rows ---

    def fill(self, t, prefix, size, keys, extra=()):
        self.load(t, "put", "--conns", 16, "--count", keys, "--prefix", prefix,
                  "--size", size, *extra, fill=True)

    def one(self, t, row):
        what, mode, size, conns, keys, extra = ROWS[row]
        self.run += 1
        common = ["--conns", conns, "--size", size, *extra]
        if mode == "put":
            return self.load(t, "put", *common, "--prefix", f"p{self.run}-",
                             "--seconds", self.seconds)
        if mode == "delete":
            keys = keys * self.seconds // 10
            self.fill(t, f"d{self.run}-", size, keys, extra)
            return self.load(t, "delete", *common, "--prefix", f"d{self.run}-",
                             "--keys", keys)
        if mode == "list":
            passes = max(conns, 3 * self.seconds)
            return self.load(t, "list", *common, "--prefix", "f-", "--count", passes)
        return self.load(t, mode, *common, "--prefix", "f-", "--keys", keys,
                         "--seconds", self.seconds)

    def runs(self, row):
        """Of 64 MiB three: they differ less and write more."""
        return min(3, self.args.runs) if "64M" in ROWS[row][2] else self.args.runs

    def row(self, row):
        targets = self.targets(nginx=ROWS[row][1] != "list")
        results = {t.name: [] for t in targets}
        try:
            self.row_measure(row, targets, results)
        finally:
            self.seconds = self.args.seconds
            for t in targets:
                t.stop()
        self.row_print(row, targets, results)

    def row_measure(self, row, targets, results):
        what, mode, size, conns, keys, extra = ROWS[row]
        large = mode == "put" and size.endswith("M")
        for t in targets:
            self.start(t)
            if mode in ("get", "head", "list"):
                self.fill(t, "f-", size, keys, extra)
        for _ in range(self.runs(row)):
            for t in targets:
                # as the yardstick, it needs no long runs
                self.seconds = self.args.nginx_seconds if t.name == "nginx" else self.args.seconds
                results[t.name].append(self.one(t, row))
                if t is targets[0]:
                    self.commands[row] = self.command
                if large:  # its bytes would fill the disk
                    t.stop()
                    self.start(t)

    def row_print(self, row, targets, results):
        rate, cpu = "ops_s", "srv_cpu_s_1k"
        if ROWS[row][1] == "list":
            rate, cpu = "keys_s", "srv_cpu_s_1Mkeys"

        def med(t, key):
            return statistics.median(r[key] for r in results[t.name])

        goal = GOALS.get(row, ("", "", ""))
        for t in targets:
            all_rates = [r[rate] for r in results[t.name]]
            last = targets[-1]
            ratio = f"{med(t, rate) / med(last, rate):.2f}" if t is not last else ""
            print(
                f"| {row}: {ROWS[row][0]} | {t.name} | {med(t, rate):,.0f} "
                f"({min(all_rates):,.0f}-{max(all_rates):,.0f}) "
                f"| {med(t, 'p50_ms'):.2f} / {med(t, 'p99_ms'):.2f} / {med(t, 'p999_ms'):.2f} "
                f"| {med(t, cpu):.4f} | {ratio} | {med(t, 'other_cpu'):.2f} "
                f"| {sum(r['errors'] for r in results[t.name]):.0f} "
                f"| {', '.join(filter(None, goal)) if t.name != 'nginx' else ''} |",
                flush=True,
            )

    def rows(self, names):
        print(
            f"\nMedians of {self.args.runs} runs (64 MiB: {min(3, self.args.runs)}) of {self.args.seconds} s, of nginx "
            f"{self.args.nginx_seconds} s (LIST: keys, CPU per 10^6 keys). Goals: rate, CPU, times nginx.\n"
        )
        print(
            "| row | of | rate /s (least-most) | p50 / p99 / p99.9 ms | server CPU s per 1,000 "
            "| rate to the last | other cores | errors | goal |"
        )
        print("|---|---|---|---|---|---|---|---|---|")
        for row in names:
            try:
                self.row(row)
            except (SystemExit, AssertionError, OSError) as err:
                self.failed = True
                print(f"| {row}: {ROWS[row][0]} | failed: {' '.join(str(err).split())[-300:]} | | | | | | | |", flush=True)
        print("\nThe load of each row, its first run:\n")
        for row in filter(self.commands.get, names):
            print(f"- {row}: `{shlex.join(['s3load', *map(str, self.hide(self.commands[row]))])}`")
        sys.stdout.flush()

    @staticmethod
    def hide(command):
        """Without the names of this run."""
        out, it = [], iter(command)
        for word in it:
            if word in ("--access", "--secret", "--port"):
                next(it)
            else:
                out.append(word)
        return out

    # --- names: is cost flat? ---

    def names(self):
        print("\nCost per operation by names in one bucket "
              "(server CPU s per 1,000; LIST: per 10^6 keys).\n")
        print("| names | order | PUT | rate | GET | rate | HEAD | rate | LIST | keys/s | RssAnon MiB "
              "| ready after SIGKILL, ms / of CPU |")
        print("|---|---|---|---|---|---|---|---|---|---|---|---|")
        for scatter in ([], ["--scatter"]):
            t = self.targets(nginx=False)[0]
            self.start(t)
            have = 0
            steps = [1000, 10000, 100000] + ([] if self.args.quick else [1000000])
            for n in steps:
                put = self.load(t, "put", "--conns", 16, "--prefix", "n-", "--start", have,
                                "--count", n - have, *scatter, fill=True)
                have = n
                s = ["--conns", 16, "--prefix", "n-", "--keys", n, *scatter]
                s += ["--seconds", self.args.seconds / 2]
                get, head = self.load(t, "get", *s), self.load(t, "head", *s)
                lst = self.load(t, "list", "--prefix", "n-", "--count", max(1, 200000 // n))
                print(f"| {n:,} | {'random' if scatter else 'ascending'} "
                      f"| {put['srv_cpu_s_1k']:.4f} | {put['ops_s']:,.0f} "
                      f"| {get['srv_cpu_s_1k']:.4f} | {get['ops_s']:,.0f} "
                      f"| {head['srv_cpu_s_1k']:.4f} | {head['ops_s']:,.0f} "
                      f"| {lst['srv_cpu_s_1Mkeys']:.3f} | {lst['keys_s']:,.0f} "
                      f"| {proc_status(t.pids[0], 'RssAnon'):.1f} "
                      f"| {self.again(t) if n == steps[-1] else ''} |", flush=True)
            t.stop()

    # --- memory ---

    def peak(self, t, what):
        """Highest RssAnon (MiB) while what() runs."""
        top, end = [proc_status(t.pids[0], "RssAnon")], threading.Event()

        def watch():
            while not end.wait(0.02):
                top.append(proc_status(t.pids[0], "RssAnon"))

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            what()
        finally:
            end.set()
            thread.join()
        return max(top)

    def idle(self):
        t = self.targets(nginx=False)[0]
        self.start(t)
        print("\n| idle, RssAnon | MiB | goal |\n|---|---|---|")
        print(f"| empty store | {proc_status(t.pids[0], 'RssAnon'):.1f} | 20 |", flush=True)
        keys = 10000 if self.args.quick else 100000
        self.fill(t, "m-", "1K", keys)
        print(f"| after {keys:,} PUT of 1 KiB | {proc_status(t.pids[0], 'RssAnon'):.1f} | |")
        time.sleep(25)  # rows that nobody wants go after ten seconds
        print(f"| 25 s later | {proc_status(t.pids[0], 'RssAnon'):.1f} | |", flush=True)
        t.server.restart()
        t.pids = [t.server.procs[0].pid]
        print(f"| started again | {proc_status(t.pids[0], 'RssAnon'):.1f} | 20 |", flush=True)
        t.stop()

    def large(self, t, method, size):
        """One object as large as one PUT may bring (s3load ends at 2 GiB)."""
        piece, path = os.urandom(1 << 20), "/bench/large"
        h = {"content-length": str(size)} if method == "PUT" else {}
        t.server.s3().sign(method, path, [], h, "UNSIGNED-PAYLOAD")
        c = http.client.HTTPConnection("127.0.0.1", t.port, timeout=600)
        body = (piece for _ in range(size // len(piece))) if method == "PUT" else None
        c.request(method, path, body=body, headers=h)
        r, got = c.getresponse(), 0
        while data := r.read(1 << 20):
            got += len(data)
        c.close()
        if r.status != 200 or got != (0 if method == "PUT" else size):
            raise SystemExit(f"{method} of {size:,} bytes: {r.status}, {got:,} bytes")

    def memory(self):
        t = self.targets(nginx=False)[0]
        self.start(t)
        size = (512 if self.args.quick else 5120) << 20
        idle = proc_status(t.pids[0], "RssAnon")
        up = self.peak(t, lambda: self.large(t, "PUT", size))
        time.sleep(4)  # what it gives back, it gives back when idle
        after = proc_status(t.pids[0], "RssAnon")
        down = self.peak(t, lambda: self.large(t, "GET", size))
        print("\n| memory (RssAnon, MiB) | |\n|---|---|")
        print(f"| idle, empty store | {idle:.1f} |")
        print(f"| highest during PUT of one object of {size >> 20:,} MiB | {up:.1f} |")
        print(f"| 4 s after it | {after:.1f} |")
        print(f"| highest during GET of it | {down:.1f} |", flush=True)
        self.fill(t, "m-", "1K", 100000)
        time.sleep(4)
        rss = proc_status(t.pids[0], "RssAnon")
        print(f"| 4 s after 100,000 PUT of 1 KiB | {rss:.1f} |", flush=True)
        t.stop()

    # --- readiness ---

    def boot(self, t):
        """Milliseconds from exec to READY=1, and those of CPU."""
        path = os.path.join(self.where, "notify")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.bind(path)
            s.settimeout(120)
            os.environ["NOTIFY_SOCKET"] = path
            began = time.monotonic()
            try:
                t.start_only()
                while b"READY=1" not in s.recv(4096):
                    pass
            finally:
                del os.environ["NOTIFY_SOCKET"]
                os.unlink(path)
        took = time.monotonic() - began
        return took * 1e3, cpu_seconds([t.server.procs[0].pid]) * 1e3

    def boot_print(self, what, times):
        wall, cpu = (statistics.median(x) for x in zip(*times))
        print(f"| {what} | {wall:.0f} | {cpu:.0f} |", flush=True)

    def again(self, t):
        """Kills it and starts it again: ms until it is ready, and of CPU."""
        t.server.kill()
        took, cpu = self.boot(t)
        t.pids = [t.server.procs[0].pid]
        return f"{took:.0f} / {cpu:.0f}"

    def ready(self):
        print("\n| ready after exec (median of 5) | ms | ms of CPU |\n|---|---|---|")
        empty = []
        for _ in range(5):
            t = self.targets(nginx=False)[0]
            empty.append(self.boot(t))
            t.server.kill()
            shutil.rmtree(t.base)
        self.boot_print("first start, nothing there", empty)
        t = self.targets(nginx=False)[0]
        for keys in [0] + ([1000] if self.args.quick else self.args.keys):
            if keys:
                self.start(t)
                self.fill(t, f"r{keys}-", "1K", keys)
                t.server.kill()
            for how in ("clean stop", "SIGKILL"):
                times = []
                for _ in range(5):
                    times.append(self.boot(t))
                    leo.wait_for("the port", lambda: t.server.wait_ready() is None)
                    t.server.stop() if how == "clean stop" else t.server.kill()
                # the first of them followed another kind of end
                self.boot_print(f"{keys:,} keys more, after a {how}", times[1:])
        shutil.rmtree(t.base)

    # --- bytes written ---

    def written(self):
        print("\n| bytes written per byte stored | to the device, by anybody | in write calls |\n|---|---|---|")
        for size, unit, count in (("1K", 1 << 10, 100000), ("16K", 1 << 14, 20000),
                                  ("64K", 1 << 16, 10000), ("1M", 1 << 20, 1000)):
            t = self.targets(nginx=False)[0]
            self.start(t)
            os.sync()
            count //= 10 if self.args.quick else 1
            calls, device = proc_written(t.pids[0]), device_written(t.base)
            self.fill(t, "w-", size, count)
            os.sync()
            calls = proc_written(t.pids[0]) - calls
            device = device_written(t.base) - device
            print(f"| {count:,} PUT of {size}iB | {device / (unit * count):.2f} "
                  f"| {calls / (unit * count):.2f} |", flush=True)
            t.stop()

    # --- hostile ---

    def beside(self, t, title, alone, begin):
        """What a good client gets while begin()'s connections stay."""
        s = ["--conns", 16, "--prefix", "f-", "--keys", 20000, "--seconds", self.args.seconds]
        before = proc_status(t.pids[0], "RssAnon")
        conns = begin()
        time.sleep(2)
        rss = proc_status(t.pids[0], "RssAnon")
        with_them = self.load(t, "get", *s)
        print(f"\n| beside {title} | alone | beside |\n|---|---|---|")
        for key in ("ops_s", "p99_ms", "srv_cpu_s_1k", "errors"):
            print(f"| 1 KiB GET, 16: {key} | {alone[key]:,.4g} | {with_them[key]:,.4g} |")
        print(f"| RssAnon MiB | {before:.1f} | {rss:.1f} |", flush=True)
        for c in conns:
            c.close()

    def begin(self, t, n, method, path, headers):
        """n connections with a request each that nobody goes on with."""
        out = []
        for i in range(n):
            c = socket.socket()
            c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            c.connect(("127.0.0.1", t.port))
            h = headers(i)
            t.server.s3().sign(method, path(i), [], h, "UNSIGNED-PAYLOAD")
            lines = "".join(f"{k}: {v}\r\n" for k, v in h.items())
            c.sendall(f"{method} {path(i)} HTTP/1.1\r\n{lines}\r\n".encode())
            out.append(c)
        return out

    def hostile(self):
        n = 1000 if self.args.quick else 10000
        t = self.targets(nginx=False)[0]
        self.start(t)
        self.fill(t, "f-", "1K", 20000)
        s = ["--conns", 16, "--prefix", "f-", "--keys", 20000, "--seconds", self.args.seconds]
        alone = self.load(t, "get", *s)
        self.load(t, "put", "--prefix", "j-", "--size", "64M", "--conns", 2, "--count", 8, fill=True)

        def heads():
            idle = []
            for _ in range(n):
                c = socket.create_connection(("127.0.0.1", t.port))
                c.sendall(b"GET / HTTP/1.1\r\n")  # a head that never ends
                idle.append(c)
            return idle

        def readers():
            return self.begin(t, n // 10, "GET", lambda i: f"/bench/j-{i % 8:08}",
                              lambda i: {"range": f"bytes={i // 8 % 16 << 22}-"})

        def writers():
            out = self.begin(t, n // 10, "PUT", lambda i: f"/bench/w-{i}",
                             lambda i: {"content-length": str(64 << 20)})
            for c in out:
                c.sendall(b"x" * 100000)
            return out

        self.beside(t, f"{n:,} connections that stay in their head", alone, heads)
        self.beside(t, f"{n // 10:,} readers of 64 MiB that take nothing", alone, readers)
        self.beside(t, f"{n // 10:,} writers of 64 MiB that stop after 100 KB", alone, writers)
        t.stop()


def machine():
    """Words on when, what and where."""
    yield time.strftime("%Y-%m-%d,", time.gmtime())
    p = subprocess.run(
        ["git", "-C", HERE, "describe", "--always", "--dirty"], capture_output=True, text=True
    )
    yield f"commit {p.stdout.strip() or 'unknown'},"
    with open("/proc/cpuinfo") as f:
        yield next((x.split(":")[1].strip() for x in f if x.startswith("model name")), platform.machine())
    yield f"x {os.cpu_count()}, Linux {platform.release()}, load {os.getloadavg()[0]:.1f}"


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--s3load", required=True)
    p.add_argument("--build", action="append")
    p.add_argument("--runs", type=int, default=5)
    p.add_argument("--seconds", type=int, default=10)
    p.add_argument("--nginx-seconds", type=int, default=2)
    p.add_argument("--dir")
    p.add_argument("--no-nginx", action="store_true")
    p.add_argument("--memory", action="store_true")
    p.add_argument("--quick", action="store_true")
    p.add_argument("--keys", type=int, nargs="*", default=[100000])
    p.add_argument("part", nargs="*")
    args = p.parse_args()
    args.build = args.build or [leo.BUILD]
    if args.quick:
        args.runs, args.seconds, args.nginx_seconds = 1, 2, 1
    for name in args.part:
        if name not in PARTS and name not in ROWS:
            p.error(f"no part or row {name}; rows: {' '.join(ROWS)}")
    if not args.no_nginx and shutil.which("nginx") is None:
        print("No nginx here (package nginx-light): rows without their ratio to it.\n")
        args.no_nginx = True
    if args.dir:
        os.environ["TMPDIR"] = args.dir
    began = time.monotonic()
    print(f"{' '.join(machine())}; `{shlex.join(sys.argv)}`.")
    b = Bench(args, leo.tmpdir())
    os.chmod(b.where, 0o755)
    names = [n for n in args.part if n in ROWS]
    if names:
        b.rows(names)
    for part in args.part or PARTS:
        if part == "rows":
            b.rows(list(ROWS))
        elif part in PARTS:
            getattr(b, part)()
    print(f"\nAll of it took {(time.monotonic() - began) / 60:.0f} minutes.")
    return 1 if b.failed else 0


sys.exit(main())
