#!/usr/bin/env python3
"""Garbage, smuggled requests, XML bombs, wrong and missing signatures."""

import os
import socket
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from leo import *


def raw(address, data, wait=5):
    """Sends bytes, returns all that comes back until the peer closes."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family) as s:
        s.settimeout(wait * SLOW)
        s.connect(address)
        out = b""
        try:
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)
            while True:
                got = s.recv(65536)
                if not got:
                    break
                out += got
        except OSError:
            pass
        return out


def alive(server):
    for p in server.procs:
        assert p.alive(), f"{p.name} died: {p.tail()}"
    eq(server.s3().put("/alive-bucket/probe", b"x").status, 200, "still serves")


def garbage(server, rng):
    targets = [
        ("127.0.0.1", server.port),
        ("127.0.0.1", server.admin_port),
        server.rpc[len("unix:"):],
    ]
    for address in targets:
        for _ in range(15):
            raw(address, os.urandom(rng.choice([1, 10, 88, 200, 5000, 200000])), 3)
        raw(address, b"LEOF\x01\x01" + b"\xff" * 200, 3)
        raw(address, b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 50000, 3)
    alive(server)


def smuggling(server, rng):
    bad = [
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        b"GET / HTTP/1.1\nHost: x\n\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/2.0\r\nHost: x\r\n\r\n",
        b"GE\0T / HTTP/1.1\r\nHost: x\r\n\r\n",
    ]
    for port in (server.port, server.admin_port):
        for request in bad:
            got = raw(("127.0.0.1", port), request + b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n")
            answers = got.count(b"HTTP/1.1 ")
            assert answers <= 1, f"{request[:80]!r}: {answers} answers"
            if got:
                status = int(got.split()[1])
                assert 400 <= status < 600, f"{request[:80]!r}: {status}"
    alive(server)


def signatures(server, rng):
    good = server.s3()
    eq(good.put("/sig").status, 200, "bucket")
    for client, code in (
        (server.s3(good.access, "wrong" * 8), "SignatureDoesNotMatch"),
        (server.s3("AKIANOSUCHKEY0000000", good.secret), "InvalidAccessKeyId"),
    ):
        for method, path in (("GET", "/"), ("PUT", "/sig/k"), ("DELETE", "/sig"), ("GET", "/sig")):
            r = client.request(method, path, body=b"x" if method == "PUT" else b"")
            eq((r.status, r.code()), (403, code), f"{method} {path}")
    r = raw(("127.0.0.1", server.port), b"GET /sig HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert b" 403 " in r.split(b"\r\n")[0] and b"AccessDenied" in r, r[:200]
    # the signature covers another body than the one sent
    r = good.request("PUT", "/sig/k", body=b"sent", payload_hash=hashlib.sha256(b"signed").hexdigest())
    eq((r.status, r.code()), (400, "XAmzContentSHA256Mismatch"), "body differs")
    eq(good.get("/sig/k").status, 404, "nothing was left behind")
    r = good.put("/sig/k", b"x", **{"Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA=="})
    eq((r.status, r.code()), (400, "BadDigest"), "Content-MD5")
    r = good.put("/sig/k", b"x", **{"x-amz-checksum-crc32": "AAAAAA=="})
    eq(r.status, 400, "crc32")
    r = good.put("/sig/k", b"x", **{"x-amz-server-side-encryption": "AES256"})
    eq(r.status, 501, "a security header is never ignored")
    eq(good.get("/sig/k").status, 404, "nothing was left behind")


def nothing_ignored(server, rng):
    """Conditions, checksums and sub-resources an operation does not have."""
    s3 = server.s3()
    eq(s3.put("/sig/keep", b"kept").status, 200, "object")
    upload = s3.request("POST", "/sig/mp", query=[("uploads", "")]).body
    upload = upload.split(b"<UploadId>")[1].split(b"<")[0].decode()
    part = [("partNumber", "1"), ("uploadId", upload)]
    none, since = {"If-None-Match": "*"}, {"If-Unmodified-Since": "Mon, 01 Jan 2001 00:00:00 GMT"}
    for method, path, query, headers in (
        ("PUT", "/sig/keep", [], since),
        ("DELETE", "/sig/keep", [], since),
        ("PUT", "/sig/mp", part, none),
        ("POST", "/sig/mp", [("uploads", "")], none),
        ("DELETE", "/sig/mp", part[1:], {"If-Match": '"x"'}),
        ("POST", "/sig", [("delete", "")], {"If-Match": '"x"'}),
        ("DELETE", "/sig", [], {"If-Match": '"x"'}),
        ("PUT", "/sig/keep", [], {"Content-Range": "bytes 0-0/4"}),
        ("PUT", "/sig/keep", [("annotation", "")], {}),
        ("POST", "/sig", [], {}),
        ("PUT", "/sig", [("metadataInventoryTable", "")], {}),
        ("GET", "/sig/keep", [("annotation", "")], {}),
    ):
        r = s3.request(method, path, query=query, headers=headers, body=b"x" if method == "PUT" else b"")
        eq((r.status, r.code()), (501, "NotImplemented"), f"{method} {path} {query} {headers}")
    for query, headers in (
        ([("partNumber", "1")], {}),
        ([], {"x-amz-checksum-algorithm": "MD5"}),
        ([], {"x-amz-checksum-type": "COMPOSITE"}),
        ([], {"x-amz-copy-source-if-match": '"x"'}),
    ):
        eq(s3.request("PUT", "/sig/keep", query=query, headers=headers, body=b"x").status, 400, f"{query} {headers}")
    body = b"<CompleteMultipartUpload/>"
    r = s3.request("POST", "/sig/mp", query=part[1:], headers={"Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA=="}, body=body)
    eq((r.status, r.code()), (400, "BadDigest"), "Content-MD5 of a part list")
    eq(s3.get("/sig/keep").body, b"kept", "untouched")
    eq(s3.request("GET", "/sig", query=[("prefix", ""), ("delimiter", ""), ("marker", "")]).status, 200, "empty parameters")
    eq(s3.request("DELETE", "/sig/mp", query=part[1:]).status, 204, "abort")


def xml_bombs(server, rng):
    s3 = server.s3()
    bombs = [
        b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">]><Delete><Object><Key>&a;</Key></Object></Delete>',
        b"<Delete>" + b"<a>" * 5000,
        b"<Delete>" + b"<Object><Key>k</Key></Object>" * 1001 + b"</Delete>",
        b"<Delete><Object>",
        b"\xff\xfe garbage",
        b"",
    ]
    for bomb in bombs:
        import base64

        digest = base64.b64encode(hashlib.md5(bomb).digest()).decode()
        r = s3.request("POST", "/sig", query=[("delete", "")], headers={"Content-MD5": digest}, body=bomb)
        eq((r.status, r.code()), (400, "MalformedXML"), repr(bomb[:60]))
    alive(server)


def upload_cut(server, rng):
    """An upload that ends early leaves nothing."""
    s3 = server.s3()
    for size, sent in ((1000, 10), (40000, 20000), (9 << 20, 5 << 20)):
        headers = {"content-length": str(size)}
        s3.sign("PUT", "/sig/cut", [], headers, "UNSIGNED-PAYLOAD")
        head = "PUT /sig/cut HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers.items())
        raw(("127.0.0.1", server.port), head.encode() + b"\r\n" + b"x" * sent)
        eq(s3.get("/sig/cut").status, 404, "cut upload")
    alive(server)


def admin_port(server, rng):
    base = f"http://127.0.0.1:{server.admin_port}"
    code = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}"]
    eq(run(*code, f"{base}/v1/status").stdout, "401", "no token")
    eq(run(*code, "-H", "Authorization: Bearer nope", f"{base}/v1/users").stdout, "401", "wrong token")
    eq(run(*code, f"{base}/nothing").stdout, "404", "no such resource")
    eq(server.adm("create-user", "bad/name", check=False).returncode, 1, "bad user name")
    eq(server.adm("add-bucket", "Bad_Bucket", check=False).returncode, 1, "bad bucket name")
    eq(server.adm("delete-user", "nobody", check=False).returncode, 1, "no such user")


def main():
    rng = random.Random(seed_from_argv())
    server = Server()
    eq(server.s3().put("/alive-bucket").status, 200, "bucket")
    t = Tap()
    for fn in (garbage, smuggling, signatures, nothing_ignored, xml_bombs, upload_cut, admin_port):
        t.run(fn.__name__.replace("_", " "), fn, server, rng)
    t.run("clean stop", server.stop)
    t.end()


main()
