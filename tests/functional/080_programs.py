#!/usr/bin/env python3
"""Programs as an operator meets them: help, bad options, admin commands, -n."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from leo import *

DAEMONS = {
    n: os.path.join(BUILD, d, n)
    for n, d in (("leo-managerd", "managerd"), ("leo-storaged", "storaged"), ("leo-gateway", "gateway"))
}


def help_and_version():
    for program in [LEOFS, MOUNT, ADM] + list(DAEMONS.values()):
        p = run(program, "--help")
        assert "usage" in p.stdout, program
        assert run(program, "--version").stdout.strip(), program
        assert run(program, "--no-such-option", check=False).returncode != 0, program


def configuration():
    d = tmpdir()
    path = os.path.join(d, "c.yaml")
    needs = {"leo-managerd": "data: /x\nrpc: unix:/x/s\n",
             "leo-storaged": "data: /x\nrpc: unix:/x/s\nmanager: unix:/x/m\n",
             "leo-gateway": "manager: unix:/x/m\n"}
    for name, program in DAEMONS.items():
        with open(path, "w") as f:
            f.write(needs[name])
        out = run(program, "-c", path, "-n").stdout
        with open(path, "w") as f:
            f.write(out)
        eq(run(program, "-c", path, "-n").stdout, out, "what -n prints reads back")
        with open(path, "w") as f:
            f.write(needs[name] + "nonsense: 1\n")
        p = run(program, "-c", path, "-n", check=False)
        assert p.returncode == 1 and f"{path}:" in p.stderr and "nonsense" in p.stderr, p.stderr
        if name == "leo-storaged":
            reads(program, path, needs[name])
        p = run(program, "-c", "/nonexistent.yaml", check=False)
        assert p.returncode == 1 and "/nonexistent.yaml" in p.stderr, p.stderr


def reads(program, path, needed):
    """The setting `reads` of a store, in a file."""
    for line, want in (("", "lease"), ("reads: lease\n", "lease"), ("reads: barrier\n", "barrier")):
        with open(path, "w") as f:
            f.write(needed + line)
        assert f"reads: {want}\n" in run(program, "-c", path, "-n").stdout, (line, want)
    with open(path, "w") as f:
        f.write(needed + "reads: sometimes\n")
    p = run(program, "-c", path, "-n", check=False)
    assert p.returncode == 1 and f"{path}:4:" in p.stderr and "lease" in p.stderr, p.stderr


def reads_without_leases():
    """A server whose reads go through a barrier says so, and answers."""
    for extra, says in (([], False), (["--set", "reads=barrier"], True)):
        server = Server(extra=extra)
        s3 = server.s3()
        eq(s3.put("/bucket").status, 200, "bucket")
        eq(s3.put("/bucket/k", b"value").status, 200, "PUT")
        eq(s3.get("/bucket/k").body, b"value", "GET")
        with open(server.procs[0].log) as f:
            eq(f.read().count("reads=barrier"), int(says), "what the log says")
        server.stop()
    p = run(LEOFS, "server", "--data", tmpdir(), "--set", "reads=sometimes", check=False)
    assert p.returncode == 2 and "reads" in p.stderr, p.stderr


def no_two_on_one_store():
    """One that leo-storaged has is not opened beside it, whoever else is gone."""
    server = Server(shape="daemons")
    p = run(LEOFS, "fsck", "--data", server.data, check=False)
    eq(p.returncode, 2, "exit beside the manager")
    managers = [p for p in server.procs if p.name == "leo-managerd"]
    managers[0].kill()
    for what in ("fsck", "server"):
        p = run(LEOFS, what, "--data", server.data, check=False)
        eq(p.returncode, 2 if what == "fsck" else 1, f"exit of leofs {what}")
        assert f"{server.data}/store is in use by another server" in p.stderr, p.stderr
    server.kill()
    server.start()
    server.stop()


def joined(server):
    wait_for("the store to join", lambda: server.adm_json("status")["stores"])


def fsck_leaves_no_address():
    """To the managers the store is where leo-storaged served it, not where it was checked."""
    server = Server(shape="daemons")
    managerd = server.procs[0].popen.args
    joined(server)
    server.stop()  # leofs fsck among it
    server.procs = []
    server._spawn("leo-managerd", managerd)
    wait_for("the manager", lambda: server.adm("status", check=False).returncode == 0)
    eq([s["address"] for s in server.adm_json("status")["stores"]], [f"unix:{server.data}/store.sock"], "stores")
    server.kill()
    server.start()
    joined(server)
    server.stop()


def fsck_of_no_store():
    """Managers that no store joined: clean as long as there is none that ever did."""
    server = Server(shape="daemons")
    joined(server)
    server.kill()
    server.fsck_wanted = False
    shutil.rmtree(server.data + "/manager")
    managerd = server.procs[0].popen.args
    server.procs = []
    server._spawn("leo-managerd", managerd)
    wait_for("the manager", lambda: server.adm("status", check=False).returncode == 0)
    server.kill()
    p = run(LEOFS, "fsck", "--data", server.data, check=False)
    assert p.returncode == 2 and "do not know this store" in p.stderr, p.stderr
    shutil.rmtree(server.data + "/store")
    eq(run(LEOFS, "fsck", "--data", server.data, check=False).returncode, 0, "exit of leofs fsck")


def clear_refusals():
    server = Server()
    p = run(LEOFS, "server", "--data", server.data, check=False)
    assert p.returncode == 1 and "in use by another server" in p.stderr, p.stderr
    d = tmpdir()
    p = run(LEOFS, "server", "--data", d, "--s3", f"127.0.0.1:{server.port}", check=False)
    assert p.returncode == 1 and f"127.0.0.1:{server.port}" in p.stderr, p.stderr
    eq(run(LEOFS, "server", "--data", "", check=False).returncode, 2, "no directory")
    for name in ("--loops", "--spread-names"):
        for value in ("", "0", "-1", " 1", "1x", str(1 << 64)):
            p = run(LEOFS, "server", "--data", d, name, value, check=False)
            assert p.returncode == 2 and name in p.stderr, (value, p.returncode, p.stderr)
    p = run(LEOFS, "server", "--data", "/proc/nothing", check=False)
    assert p.returncode == 1 and "/proc/nothing" in p.stderr, p.stderr
    p = run(MOUNT, f"unix:{d}/no.sock:/", d, "-o", "timeout=1", check=False)
    assert p.returncode != 0 and p.stderr, p
    p = run(MOUNT, "nonsense", d, check=False)
    assert p.returncode != 0 and "nonsense" in p.stderr, p.stderr
    mount = Mount.if_any(server)
    if mount is not None:
        eq(server.s3().put("/inside").status, 200, "bucket")
        p = run(LEOFS, "server", "--data", mount.path("inside", "data"), check=False)
        assert p.returncode == 1 and "inside a mount" in p.stderr, p.stderr
        eq(os.listdir(mount.path("inside")), [], "nothing left behind")
        p = run(MOUNT, f"{server.rpc}:/nosuch", d, check=False)
        assert p.returncode == 1 and p.stderr.count("\n") == 1, p.stderr
    for name in ("credentials", "admin.token"):
        eq(os.stat(os.path.join(server.data, name)).st_mode & 0o777, 0o600, name)
    eq(os.stat(server.rpc[5:]).st_mode & 0o777, 0o600, "rpc.sock")
    server.stop()


def admin_commands():
    server = Server()
    eq([u["name"] for u in server.adm_json("get-users")["users"]], ["admin"], "first user")
    key = server.adm_json("create-user", "alice")
    s3 = server.s3(key["access_key"], key["secret_key"])
    wait_for("the key to be known", lambda: s3.request("GET", "/").status == 200)
    eq(s3.put("/alices").status, 200, "her bucket")
    eq(server.s3().put("/alices").code(), "BucketAlreadyExists", "somebody else's")
    eq(s3.put("/alices").code(), "BucketAlreadyOwnedByYou", "hers")
    eq(server.s3().get("/alices").code(), "AccessDenied", "one owner per bucket")
    s3.put("/alices/dir/o", b"12345")
    w = server.adm_json("whereis", "alices/dir/o")
    eq((w["size"], w["etag"]), (5, hashlib.md5(b"12345").hexdigest()), "whereis")
    eq(server.adm_json("du", "alices")["bytes"], 5, "du")
    eq(server.adm("delete-bucket", "alices", check=False).returncode, 1, "not empty")
    eq(server.adm("delete-user", "alice", check=False).returncode, 1, "owns a bucket")
    second = server.adm_json("create-key", "alice")
    eq(len(server.adm_json("get-keys", "alice")["keys"]), 2, "keys")
    server.adm("delete-key", second["access_key"])
    s3.delete("/alices/dir/o")
    server.adm("delete-bucket", "alices")
    server.adm("delete-user", "alice")
    wait_for("the key to be gone", lambda: s3.request("GET", "/").status == 403)
    server.adm("add-bucket", "made", "--uid", "1000", "--gid", "1000")
    b = server.adm_json("get-buckets")["buckets"][0]
    eq((b["name"], b["uid"], b["state"]), ("made", 1000, "ready"), "add-bucket")
    status = server.adm_json("status")
    eq((status["durability"], len(status["stores"])), ("disk", 1), "status")
    assert "epoch" in server.adm("dump-ring").stdout
    for command in ("status", "version", "get-users", "get-keys", "get-buckets"):
        assert server.adm(command).stdout.strip(), command
    metrics = run("curl", "-s", f"http://127.0.0.1:{server.admin_port}/metrics").stdout
    assert "# TYPE leofs_" in metrics, metrics[:200]

    def logged():
        with open(os.path.join(server.data, "access.log")) as f:
            text = f.read()
        assert key["secret_key"] not in text
        lines = [json.loads(line) for line in text.splitlines()]
        return any(l["bucket"] == "alices" and l["key"] == "dir/o" for l in lines)

    wait_for("the access log", logged)
    server.restart()
    eq(server.adm_json("get-buckets")["buckets"][0]["name"], "made", "after kill -9")


def main():
    t = Tap()
    for fn in (
        help_and_version,
        configuration,
        reads_without_leases,
        no_two_on_one_store,
        fsck_leaves_no_address,
        fsck_of_no_store,
        clear_refusals,
        admin_commands,
    ):
        t.run(fn.__name__.replace("_", " "), fn)
    t.end()


main()
