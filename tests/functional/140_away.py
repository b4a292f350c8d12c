#!/usr/bin/env python3
"""A server that is away: calls end in time, signals end them, restarts under load are not seen."""

import os
import random
import signal
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from leo import *

# each runs in a process of its own, in the directory d of the mount
CALLS = {
    "stat": "os.stat('file')",
    "stat of nothing": "os.stat('nothing')",
    "stat deep down": "os.stat('e/f/g/file')",
    "create": "open('e/f/new', 'w')",
    "mkdir": "os.mkdir('e/newdir')",
    "unlink": "os.unlink('file')",
    "rmdir": "os.rmdir('e/empty')",
    "rename": "os.rename('file', 'e/f/file')",
    "link": "os.link('file', 'e/link')",
    "symlink": "os.symlink('x', 'e/symlink')",
    "chmod": "os.chmod('file', 0o600)",
    "truncate": "os.truncate('file', 3)",
    "setxattr": "os.setxattr('file', 'user.a', b'')",
    "list": "os.listdir('e/f')",
    "read": "open('large', 'rb').read(10)",
    "statvfs": "os.statvfs('file')",
    "write and fsync": "os.write(fd, b'x' * 100); os.fsync(fd)",
    "write and close": "os.write(fd2, b'x' * 3000000); os.close(fd2)",
    "append": "os.write(fd3, b'x')",
    "read of an open file": "os.pread(fd4, 100000, 4000000)",
}
CHILD = """
import os, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
os.chdir(sys.argv[1])
fd = os.open('w1', os.O_RDWR | os.O_CREAT)
fd2 = os.open('w2' + sys.argv[2], os.O_RDWR | os.O_CREAT)
fd3 = os.open('w3', os.O_RDWR | os.O_CREAT | os.O_APPEND)
fd4 = os.open('large', os.O_RDONLY)
print('ready', flush=True)
sys.stdin.readline()
start = time.monotonic()
try:
    exec(sys.argv[3])
    print('works', flush=True)
except OSError as err:
    print(err.errno, flush=True)
print(time.monotonic() - start, flush=True)
os._exit(0)
"""


def spawn(mount, i, code):
    p = subprocess.Popen(
        [sys.executable, "-c", CHILD, mount.path("d"), str(i), code],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )
    eq(p.stdout.readline(), "ready\n", code)
    return p


def fill(server, mount):
    os.makedirs(mount.path("d", "e", "f", "g"))
    os.mkdir(mount.path("d", "e", "empty"))
    for path in ("file", "e/f/g/file"):
        with open(mount.path("d", path), "w") as f:
            f.write("bytes")
    # by another door: the kernel has none of its pages
    eq(server.s3().put("/away/d/large", os.urandom(6 << 20)).status, 200, "PUT")


def one_deadline(server):
    """Whatever the kernel asks for it, a call takes timeout=."""
    mount = Mount(server, "/away", "timeout=3")
    fill(server, mount)
    children = {name: spawn(mount, i, code) for i, (name, code) in enumerate(CALLS.items())}
    time.sleep(1.1)  # what the kernel believes of names is over: entry_timeout
    server.kill()
    for p in children.values():
        p.stdin.write("\n")
        p.stdin.flush()
    slow = []
    for name, p in children.items():
        out = p.communicate(timeout=60 * SLOW)[0].split()
        print(f"# {name}: {out}")
        if out[0] != "5" or not 2.5 < float(out[1]) < 4.5:
            slow.append((name, out))
    eq(slow, [], "calls that do not end with EIO after timeout=")
    server.start()
    with open(mount.path("d", "e", "f", "g", "file")) as f:
        eq(f.read(), "bytes", "the mount goes on")
    mount.umount()


def waits_in_a_call(p):
    """Past its input, and asleep in the kernel? A signal before the call ends it by other ways."""
    for _ in range(2):
        with open(f"/proc/{p.pid}/wchan") as f:
            where = f.read()
        if where in ("", "0") or "pipe" in where:
            return False
        time.sleep(0.05)
    return True


def signals(server):
    """A signal ends a call that waits, and the mount does not mind."""
    mount = Mount(server, "/away", "timeout=60")
    children = [spawn(mount, i, code) for i, code in enumerate(CALLS.values())]
    time.sleep(1.1)
    server.kill()
    for p in children:
        p.stdin.write("\n")
        p.stdin.flush()
    for name, p in zip(CALLS, children):
        wait_for(f"{name} to wait for the server", lambda: waits_in_a_call(p))
    start = time.monotonic()
    for i, p in enumerate(children):
        # the kernel ends a read for nothing but what kills: not SIGINT for that
        p.send_signal((signal.SIGINT, signal.SIGKILL, signal.SIGALRM)[i % 3])
    for name, p in zip(CALLS, children):
        p.communicate(timeout=60)
        took = time.monotonic() - start
        assert took < 5 * SLOW, f"{name}: {took:.1f} s to die"
    server.start()
    with open(mount.path("d", "e", "f", "g", "file")) as f:
        eq(f.read(), "bytes", "the mount goes on")
    names = sorted(os.listdir(mount.path("d")))
    assert "large" in names and set(names) <= {
        "e", "file", "large", "w1", "w3", *(f"w2{i}" for i in range(len(CALLS)))
    }, names
    mount.umount()
    server.fsck()


TIMED = """
import os, signal, sys
os.chdir(sys.argv[1])
signal.signal(signal.SIGALRM, lambda *args: None)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
open('f', 'w').close()
for i in range(400):
    if i == 200:
        print('half', flush=True)
    # those that Python does not try again
    os.stat('f'); os.chmod('f', 0o600 + i % 8); os.rename('f', 'g'); os.link('g', 'f'); os.unlink('g')
    os.mkdir('dir'); os.rmdir('dir'); os.symlink('x', 'link'); os.readlink('link'); os.unlink('link')
    os.setxattr('f', 'user.a', b'x'); os.truncate('f', i)
signal.setitimer(signal.ITIMER_REAL, 0)
print('works', flush=True)
"""


def timers(server):
    """Signals of timers, children and windows end no call, however long it waits."""
    mount = Mount(server, "/away", "timeout=60")
    os.mkdir(mount.path("timed"))
    p = subprocess.Popen(
        [sys.executable, "-c", TIMED, mount.path("timed")],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )
    eq(p.stdout.readline(), "half\n", "with a timer of 1 ms")
    server.kill()
    time.sleep(2.5)  # the mount looks again every second
    server.start()
    eq(p.communicate(timeout=120 * SLOW)[0], "works\n", "with a server that was away")
    eq(os.listdir(mount.path("timed")), ["f"], "what is left")
    mount.umount()


LOAD = """
import os, random, sys
rng = random.Random(sys.argv[2])
os.chdir(sys.argv[1])
kept = {}
for i in range(int(sys.argv[3])):
    name = f"{sys.argv[2]}.{rng.randrange(20)}"
    op = rng.randrange(6)
    if op < 3 or name not in kept:
        data = rng.randbytes(rng.choice([10, 3000, 90000, 700000]))
        with open(name, "wb") as f:
            f.write(data)
            if op == 0:
                os.fsync(f.fileno())
        kept[name] = data
    elif op == 3:
        os.unlink(name)
        del kept[name]
    elif op == 4:
        os.rename(name, name + "r")
        os.rename(name + "r", name)
    else:
        with open(name, "rb") as f:
            assert f.read() == kept[name], name
for name, data in kept.items():
    with open(name, "rb") as f:
        assert f.read() == data, name
print(len(kept), flush=True)
"""


def restarts_under_load(server):
    mount = Mount(server, "/away")
    os.mkdir(mount.path("load"))
    seed = random.SystemRandom().randrange(1 << 30)
    print(f"# seed {seed}")
    children = [
        subprocess.Popen(
            [sys.executable, "-c", LOAD, mount.path("load"), str(seed + i), "150"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for i in range(4)
    ]
    kills = 0
    while any(p.poll() is None for p in children) and kills < 6:
        time.sleep(0.4)
        server.restart()
        kills += 1
    print(f"# {kills} kills")
    for p in children:
        out = p.communicate(timeout=120 * SLOW)[0]
        eq(p.returncode, 0, out)
    eq(len(os.listdir(mount.path("load"))) > 0, True, "something is left")
    mount.umount()


def main():
    t = Tap()
    server = Server()
    eq(server.s3().put("/away").status, 200, "bucket")
    t.mount(server).umount()
    for fn in (one_deadline, signals, timers, restarts_under_load):
        t.run(fn.__name__.replace("_", " "), fn, server)
    t.end()


main()
