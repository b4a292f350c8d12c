"""What functional and interop tests share: servers, mounts, a small S3 client.

The S3 client signs by itself (SigV4, standard library only), so that tests
share no code with the server. Everything started here is ended at exit, by
pid. Tests print TAP through Tap.
"""

import atexit
import ctypes
import datetime
import hashlib
import hmac
import http.client
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("LEO_BUILD", os.path.join(TOP, "build"))
LEOFS = os.path.join(BUILD, "leofs", "leofs")
MOUNT = os.path.join(BUILD, "fuse", "leo-mount")
ADM = os.path.join(BUILD, "adm", "leofs-adm")
# sanitized builds are several times slower
SLOW = float(os.environ.get("LEO_SLOW", "1"))
LOOPS = int(os.environ.get("LEO_LOOPS", "2"))  # of servers that do not say
# names in a shard from which on directories go elsewhere; 1: anywhere, at once
SPREAD = int(os.environ.get("LEO_SPREAD", "0"))
SPLIT = int(os.environ.get("LEO_SPLIT", "0"))  # dir_split_names; 0: the default
REGION = "us-east-1"

_cleanup = []
_servers = []  # all that were started
_logs = []  # of all processes
_left_out = {}  # what could not be tested here -> why
# how reports of sanitizers begin
REPORTS = ("WARNING: ThreadSanitizer", "ERROR: AddressSanitizer", "ERROR: LeakSanitizer", ": runtime error: ")


def _run_cleanup():
    for step in reversed(_cleanup):
        try:
            step()
        except Exception as err:  # the next step must still run
            print(f"# cleanup: {err}", file=sys.stderr)


# servers here speak plain HTTP: a bundle set for the machine only confuses
os.environ.pop("AWS_CA_BUNDLE", None)
atexit.register(_run_cleanup)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


class Skip(Exception):
    """Raised in a test with the reason why it cannot run here."""


def leave_out(what, why):
    """A part of a test cannot run here: the end of the Tap says so, as a skipped test."""
    _left_out[what] = why


def skip_all(why):
    """Ends the program before its first test."""
    print(f"1..0 # SKIP {why}")
    sys.exit(77)


class Tap:
    """Runs functions as tests and prints TAP 13; exit status is the verdict."""

    def __init__(self):
        self.n = 0
        self.failed = 0

    def run(self, name, fn, *args, **kw):
        self.n += 1
        start = time.monotonic()
        try:
            fn(*args, **kw)
            line = f"ok {self.n} - {name}"
        except Skip as why:
            line = f"ok {self.n} - {name} # SKIP {why}"
        except BaseException as err:
            self.failed += 1
            import traceback

            for text in traceback.format_exc().splitlines():
                print(f"# {text}")
            line = f"not ok {self.n} - {name}"
            if isinstance(err, (KeyboardInterrupt, SystemExit)):
                print(line, flush=True)
                raise
        print(f"{line}\n# {time.monotonic() - start:.1f} s", flush=True)

    def skip(self, name, why):
        self.n += 1
        print(f"ok {self.n} - {name} # SKIP {why}", flush=True)

    def mount(self, *args, **kw):
        """A Mount that all the rest needs; without it the program ends."""
        try:
            return Mount(*args, **kw)
        except Skip as why:
            self.skip("with a mount", why)
            self.end()

    def end(self):
        for what, why in _left_out.items():
            self.skip(what, why)
        for server in _servers:
            self.run("fsck", server.end)
        self.run("no reports of sanitizers", no_reports)
        print(f"1..{self.n}", flush=True)
        sys.exit(1 if self.failed else 0)


def no_reports():
    """A process that died of one may have been killed, and missed, by the test."""
    found = []
    for log in dict.fromkeys(_logs):
        with open(log, errors="replace") as f:
            lines = f.readlines()
        for i, line in enumerate(lines):
            if any(report in line for report in REPORTS):
                found.append(f"{os.path.basename(log)}:\n" + "".join(lines[i : i + 60]))
    assert not found, f"{len(found)} reports\n" + "\n".join(found[:5])


def seed_from_argv():
    """--seed N, else a fresh one; printed either way."""
    seed = random.SystemRandom().randrange(1 << 32)
    if "--seed" in sys.argv:
        seed = int(sys.argv[sys.argv.index("--seed") + 1])
    print(f"# seed {seed}", flush=True)
    return seed


def wait_for(what, condition, seconds=20):
    """Polls condition() until it is true; fails with what after the deadline."""
    end = time.monotonic() + seconds * SLOW
    while True:
        got = condition()
        if got:
            return got
        if time.monotonic() > end:
            raise AssertionError(f"timed out waiting for {what}")
        time.sleep(0.02)


def tmpdir():
    path = tempfile.mkdtemp(prefix="leotest-")
    if not os.environ.get("LEO_KEEP"):
        _cleanup.append(lambda: shutil.rmtree(path, ignore_errors=True))
    return path


def small_disk(size, base):
    """base/data on a file system of its own, of size bytes; Skip where that cannot be."""
    image, where = os.path.join(base, "disk.img"), os.path.join(base, "data")
    os.mkdir(where)
    with open(image, "wb") as f:
        f.truncate(size)
    try:
        run("mkfs.ext4", "-q", "-m", "0", image)
        run("mount", "-o", "loop", image, where)
    except (OSError, AssertionError) as err:
        raise Skip(f"no loop mount here: {str(err).strip().splitlines()[-1]}")
    _cleanup.append(lambda: subprocess.run(["umount", "-l", where]))


def free_port():
    """A free port that no outgoing connection can take before it is used."""
    with open("/proc/sys/net/ipv4/ip_local_port_range") as f:
        low = int(f.read().split()[0])
    while True:
        port = random.SystemRandom().randrange(10000, max(low, 10001))
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def run(*cmd, check=True, stdin=None, env=None, cwd=None, timeout=300):
    """Runs a command, returns CompletedProcess with text output."""
    p = subprocess.run(
        [str(c) for c in cmd],
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
        cwd=cwd,
        timeout=timeout * SLOW,
    )
    if check and p.returncode != 0:
        raise AssertionError(
            f"{' '.join(map(str, cmd))}: exit {p.returncode}\n{p.stdout[-2000:]}{p.stderr[-2000:]}"
        )
    return p


RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2
_libc = ctypes.CDLL(None, use_errno=True)


def renameat2(old, new, flags):
    if _libc.renameat2(-100, os.fsencode(old), -100, os.fsencode(new), flags) != 0:
        err = ctypes.get_errno()
        raise OSError(err, os.strerror(err), old)


def result_of_fsck(p):
    if p.returncode != 0:
        raise AssertionError(f"fsck: exit {p.returncode}\n{p.stdout[-3000:]}{p.stderr[-2000:]}")
    return p.stdout


def fsck_of(data, read=True):
    """leofs fsck of a data directory that nobody uses; what it printed."""
    return result_of_fsck(run(LEOFS, "fsck", "--data", data, *(["--read"] if read else []), check=False))


class Process:
    """A child with a log file; killed at exit."""

    def __init__(self, name, cmd, log, env=None):
        self.name = name
        self.log = log
        _logs.append(log)
        with open(log, "ab") as out:
            self.popen = subprocess.Popen(
                [str(c) for c in cmd], stdout=out, stderr=out, stdin=subprocess.DEVNULL, env=env
            )
        self.pid = self.popen.pid
        _cleanup.append(self.kill)

    def alive(self):
        return self.popen.poll() is None

    def kill(self, sig=signal.SIGKILL):
        if self.alive():
            self.popen.send_signal(sig)
            self.popen.wait()

    def stop(self, seconds=20):
        """SIGTERM; returns the seconds it took, fails when it was not clean."""
        start = time.monotonic()
        if self.alive():
            self.popen.send_signal(signal.SIGTERM)
        try:
            code = self.popen.wait(seconds * SLOW)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} does not stop on SIGTERM; {self.tail()}")
        if code != 0:
            raise AssertionError(f"{self.name} ended with {code}; {self.tail()}")
        return time.monotonic() - start

    def tail(self):
        with open(self.log, "rb") as f:
            return f.read()[-4000:].decode(errors="replace")


class Server:
    """A store: `leofs server`, or the three daemons (shape="daemons")."""

    def __init__(self, loops=None, shape="server", base=None, extra=(), env=None, start=True, spread=SPREAD, split=SPLIT):
        """spread: names in a shard from which on its directories go elsewhere; split: dir_split_names."""
        self.base = base or tmpdir()
        self.data = os.path.join(self.base, "data")
        self.shape = shape
        self.loops = loops or LOOPS
        self.spread, self.split = spread, split
        self.extra = list(extra)
        self.env_ = env  # of the processes; None: ours
        self.port = free_port()
        self.admin_port = free_port()
        self.procs = []
        self.fsck_wanted = True  # whenever it ends; False: it is damaged
        self.checked = False  # since it ended
        _servers.append(self)
        if start:
            self.start()

    # --- life ---

    def _spawn(self, name, cmd):
        p = Process(name, cmd, os.path.join(self.base, f"{name}.log"), self.env_)
        self.procs.append(p)
        return p

    def _start_daemons(self):
        os.makedirs(self.data, exist_ok=True)
        manager = f"unix:{self.data}/rpc.sock"
        confs = {
            "leo-managerd": {
                "data": self.data,
                "rpc": manager,
                "admin": f"127.0.0.1:{self.admin_port}",
            },
            "leo-storaged": {
                "data": os.path.join(self.data, "store"),  # where leofs fsck looks
                "rpc": f"unix:{self.data}/store.sock",
                "manager": manager,
                "loops": self.loops,
                "spread_names": self.spread or 1000000,
                "dir_split_names": self.split or 1000000,
            },
            "leo-gateway": {
                "listen": f"127.0.0.1:{self.port}",
                "manager": manager,
                "loops": self.loops,
            },
        }
        where = {"leo-managerd": "managerd", "leo-storaged": "storaged", "leo-gateway": "gateway"}
        for name, conf in confs.items():
            path = os.path.join(self.base, f"{name}.yaml")
            with open(path, "w") as f:
                for key, value in conf.items():
                    f.write(f"{key}: {value}\n")
            self._spawn(name, [os.path.join(BUILD, where[name], name), "-c", path])

    def start(self, wait=True):
        self.procs = []
        self.checked = False
        if self.shape == "daemons":
            self._start_daemons()
        else:
            cmd = [LEOFS, "server", "--data", self.data]
            cmd += ["--s3", f"127.0.0.1:{self.port}"]
            cmd += ["--admin", f"127.0.0.1:{self.admin_port}"]
            cmd += ["--loops", self.loops]
            if self.spread:
                cmd += ["--spread-names", str(self.spread)]
            if self.split:
                cmd += ["--set", f"dir_split_names={self.split}"]
            self._spawn("server", cmd + self.extra)
        if wait:
            self.wait_ready()

    def wait_ready(self):
        """Until it answers, and has left the files that tests read."""

        def ready():
            for p in self.procs:
                if not p.alive():
                    raise AssertionError(f"{p.name} ended: {p.tail()}")
            # daemons: the gateway may answer before the manager writes them
            if not all(
                os.path.exists(os.path.join(self.data, name))
                for name in ("admin.token", "credentials")
            ):
                return False
            try:
                c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
                c.request("GET", "/")
                return c.getresponse().status == 403
            except OSError:
                return False

        wait_for("the server", ready, 30)

    def kill(self):
        for p in self.procs:
            p.kill()

    def kill_one(self, rng):
        """Any one of the daemons, which starts again; its name."""
        p = rng.choice(self.procs)
        p.kill()
        self.procs.remove(p)
        self._spawn(p.name, p.popen.args)
        self.wait_ready()
        return p.name

    def stop(self):
        """Checked while it lives, and what it leaves; seconds that the end took."""
        self.fsck()
        took = max(p.stop() for p in reversed(self.procs))
        self.fsck(read=False)
        return took

    def fsck(self, read=True):
        """Recounts everything, on the living server or what a dead one left, where
        names that span shards are compared, too. read: bytes, with their hashes."""
        if not self.fsck_wanted or self.checked:
            return
        alive = [p.alive() for p in self.procs]
        if any(alive):
            assert all(alive), f"ended: {[p.name for p in self.procs if not p.alive()]}"
            result_of_fsck(self.adm("fsck", "--read", check=False))
        elif os.path.isdir(os.path.join(self.data, "manager")):
            fsck_of(self.data, read)
            self.checked = True

    def end(self):
        """At the end of a test: whatever it is, it is stopped and checked."""
        if self.procs and all(p.alive() for p in self.procs):
            self.stop()
        else:
            self.fsck()

    def restart(self):
        self.kill()
        self.start()

    # --- talking to it ---

    @property
    def rpc(self):
        return f"unix:{self.data}/rpc.sock"

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.port}"

    def credentials(self):
        found = {}
        with open(os.path.join(self.data, "credentials")) as f:
            for line in f:
                if "=" in line:
                    key, value = line.split("=", 1)
                    found[key.strip()] = value.strip()
        return found["aws_access_key_id"], found["aws_secret_access_key"]

    def env(self):
        """Environment for aws, boto3 and others."""
        access, secret = self.credentials()
        return dict(
            os.environ,
            AWS_ACCESS_KEY_ID=access,
            AWS_SECRET_ACCESS_KEY=secret,
            AWS_DEFAULT_REGION=REGION,
            AWS_EC2_METADATA_DISABLED="true",
            AWS_CONFIG_FILE="/dev/null",
            AWS_SHARED_CREDENTIALS_FILE="/dev/null",
        )

    def adm(self, *args, check=True):
        return run(
            ADM,
            "--url",
            f"http://127.0.0.1:{self.admin_port}",
            "--token-file",
            os.path.join(self.data, "admin.token"),
            *args,
            check=check,
        )

    def adm_json(self, *args):
        return json.loads(self.adm("--json", *args).stdout)

    def metrics(self):
        """The text of /metrics."""
        c = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=10)
        c.request("GET", "/metrics")
        text = c.getresponse().read().decode()
        c.close()
        return text

    def counts(self):
        """What the one store counts, as its last heartbeat said: name -> number."""
        found = re.findall(r'^leofs_store_(\w+)_total\{store="[0-9a-f]{32}"\} (\d+)$', self.metrics(), re.M)
        return {name: int(n) for name, n in found}

    def s3(self, access=None, secret=None):
        if access is None:
            access, secret = self.credentials()
        return S3("127.0.0.1", self.port, access, secret)


class Mount:
    """leo-mount on a fresh directory."""

    def __init__(self, server, spec="/", options=""):
        if not os.path.exists("/dev/fuse"):
            raise Skip("no /dev/fuse here")
        self.server = server
        self.dir = os.path.join(tmpdir(), "mnt")
        os.mkdir(self.dir)
        self.spec = f"{server.rpc}:{spec}"
        self.options = options
        self.log = os.path.join(server.base, f"mount-{os.path.basename(os.path.dirname(self.dir))}.log")
        self.proc = None
        self.start()

    @classmethod
    def if_any(cls, *args, **kw):
        """One, or None where there can be none: leave_out()."""
        try:
            return cls(*args, **kw)
        except Skip as why:
            leave_out("the part with a mount", why)
            return None

    def mounted(self):
        with open("/proc/self/mountinfo") as f:
            return any(f" {self.dir} " in line for line in f)

    def start(self):
        cmd = [MOUNT, self.spec, self.dir, "-f"]
        if self.options:
            cmd += ["-o", self.options]
        self.proc = Process("leo-mount", cmd, self.log)
        _cleanup.append(self.kill)
        wait_for("the mount", lambda: self.mounted() or not self.proc.alive())
        if not self.mounted():
            raise AssertionError(f"leo-mount ended: {self.proc.tail()}")

    def path(self, *parts):
        return os.path.join(self.dir, *parts)

    def umount(self):
        run("umount", self.dir)
        wait_for("leo-mount to end", lambda: not self.proc.alive())
        if self.proc.popen.returncode != 0:
            raise AssertionError(f"leo-mount ended badly: {self.proc.tail()}")

    def kill(self):
        if self.proc:
            self.proc.kill()
        if self.mounted():
            subprocess.run(["umount", "-l", self.dir], stderr=subprocess.DEVNULL)


class Response:
    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body

    def __repr__(self):
        return f"<{self.status} {self.body[:300]!r}>"

    def header(self, name):
        return self.headers.get(name.lower())

    def code(self):
        """The S3 error code of an error body."""
        text = self.body.decode(errors="replace")
        if "<Code>" not in text:
            return ""
        return text.split("<Code>")[1].split("</Code>")[0]


class S3:
    """A plain SigV4 client over http.client; one connection."""

    def __init__(self, host, port, access, secret):
        self.host, self.port = host, port
        self.access, self.secret = access, secret
        self.conn = None
        self.once = False  # never send a request twice

    @staticmethod
    def quote(key):
        if isinstance(key, str):
            key = key.encode()
        return urllib.parse.quote(key, safe="/-_.~")

    def sign(self, method, path, query, headers, payload_hash):
        """Adds Authorization for path (quoted) and query (list of pairs)."""
        now = datetime.datetime.now(datetime.timezone.utc)
        stamp = now.strftime("%Y%m%dT%H%M%SZ")
        headers["host"] = f"{self.host}:{self.port}"
        headers["x-amz-date"] = stamp
        headers["x-amz-content-sha256"] = payload_hash
        names = sorted(headers)
        canonical_query = "&".join(
            f"{urllib.parse.quote(k, safe='-_.~')}={urllib.parse.quote(v, safe='-_.~')}"
            for k, v in sorted(query)
        )
        canonical = "\n".join(
            [method, path, canonical_query]
            + [f"{n}:{headers[n].strip()}" for n in names]
            + ["", ";".join(names), payload_hash]
        )
        scope = f"{stamp[:8]}/{REGION}/s3/aws4_request"
        to_sign = "\n".join(
            ["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()]
        )
        key = ("AWS4" + self.secret).encode()
        for part in (stamp[:8], REGION, "s3", "aws4_request", to_sign):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self.access}/{scope}, "
            f"SignedHeaders={';'.join(names)}, Signature={key.hex()}"
        )
        return canonical_query

    def request(self, method, path, query=(), headers=None, body=b"", payload_hash=None):
        """path: "/bucket/key" as bytes or text, unquoted. Returns Response."""
        if isinstance(body, str):
            body = body.encode()
        headers = {k.lower(): v for k, v in (headers or {}).items()}
        quoted = self.quote(path)
        digest = payload_hash or hashlib.sha256(body).hexdigest()
        q = self.sign(method, quoted, list(query), headers, digest)
        url = quoted + ("?" + q if q else "")
        for attempt in (0, 1):
            if self.conn is None:
                self.connect()
                fresh = True
            else:
                fresh = False
            try:
                self.conn.request(method, url, body=body or None, headers=headers)
                r = self.conn.getresponse()
                data = r.read()
                break
            except (OSError, http.client.HTTPException):
                self.close()
                if fresh or attempt or self.once:
                    raise
        if r.will_close:
            self.close()
        return Response(r.status, {k.lower(): v for k, v in r.getheaders()}, data)

    def connect(self):
        """Now, not with the next request: nothing was asked for when this fails."""
        self.close()
        conn = http.client.HTTPConnection(self.host, self.port, timeout=60 * SLOW)
        conn.connect()
        self.conn = conn

    def close(self):
        if self.conn is not None:
            self.conn.close()
        self.conn = None

    def put(self, path, body=b"", **headers):
        return self.request("PUT", path, headers=headers, body=body)

    def get(self, path, **headers):
        return self.request("GET", path, headers=headers)

    def head(self, path):
        return self.request("HEAD", path)

    def delete(self, path):
        return self.request("DELETE", path)

    def list(self, bucket, prefix="", delimiter="", max_keys=None, sizes=False):
        """All keys (bytes) and common prefixes in the order listed (V2); sizes: (key, size)."""
        import xml.etree.ElementTree as ET

        ns = "{http://s3.amazonaws.com/doc/2006-03-01/}"
        out, token = [], None
        while True:
            q = [("list-type", "2"), ("encoding-type", "url")]
            if prefix:
                q.append(("prefix", prefix))
            if delimiter:
                q.append(("delimiter", delimiter))
            if max_keys:
                q.append(("max-keys", str(max_keys)))
            if token:
                q.append(("continuation-token", token))
            r = self.request("GET", f"/{bucket}", query=q)
            if r.status != 200:
                raise AssertionError(f"LIST: {r}")
            root = ET.fromstring(r.body)
            page = []
            for e in root.findall(f"{ns}Contents"):
                key = urllib.parse.unquote_to_bytes(e.find(f"{ns}Key").text or "")
                page.append((key, int(e.find(f"{ns}Size").text)) if sizes else key)
            for e in root.findall(f"{ns}CommonPrefixes"):
                page.append(urllib.parse.unquote_to_bytes(e.find(f"{ns}Prefix").text or ""))
            out += sorted(page)
            if root.find(f"{ns}IsTruncated").text != "true":
                return out
            token = root.find(f"{ns}NextContinuationToken").text


def eq(got, want, what=""):
    if got != want:
        raise AssertionError(f"{what}: got {got!r}, want {want!r}")
