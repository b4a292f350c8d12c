#!/usr/bin/env python3
"""Conditions of requests that write: Copy (on its target, and on its source), UploadPartCopy, Complete, DELETE and
DeleteObjects. What does not hold changes nothing; of those who race under one condition one wins."""

import base64
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from leo import *

PAST, FUTURE = "Mon, 01 Jan 2001 00:00:00 GMT", "Fri, 01 Jan 2100 00:00:00 GMT"
OTHER = '"' + "0" * 32 + '"'
SMALL, LARGE = b"a small one", os.urandom(300_000)


def etag_of(body):
    return '"' + hashlib.md5(body).hexdigest() + '"'


def gone(s3, path):
    eq(s3.get(path).code(), "NoSuchKey", path)


def is_body(s3, path, body):
    r = s3.get(path)
    eq((r.status, r.body == body, r.header("etag")), (200, True, etag_of(body)), path)


def copy(s3, source, to, **conditions):
    """conditions: source__if_match stands for x-amz-copy-source-if-match."""
    headers = {"x-amz-copy-source": source}
    for name, value in conditions.items():
        name = name.replace("source__", "x-amz-copy-source-").replace("_", "-")
        headers[name] = value
    return s3.put(to, **headers)


def refused(r, status, code, what):
    eq((r.status, r.code()), (status, code), what)


def copy_target(server, to):
    """to: the bucket of the target; the source is in `one`."""
    s3 = server.s3()
    for name, body in (("small", SMALL), ("large", LARGE)):
        source, target = f"/one/src/{name}", f"/{to}/dst/deep/{name}"
        refused(copy(s3, source, target, if_match=OTHER), 404, "NoSuchKey", "If-Match on nothing")
        refused(copy(s3, source, target, if_match="*"), 404, "NoSuchKey", "If-Match: * on nothing")
        gone(s3, target)
        eq(copy(s3, source, target, if_none_match="*").status, 200, "create-only")
        is_body(s3, target, body)
        eq(s3.put(target, "changed").status, 200, "PUT")
        refused(copy(s3, source, target, if_none_match="*"), 412, "PreconditionFailed", "create-only twice")
        refused(copy(s3, source, target, if_match=OTHER), 412, "PreconditionFailed", "another ETag")
        refused(copy(s3, source, target, if_match=etag_of(body)), 412, "PreconditionFailed", "the source's ETag")
        refused(copy(s3, source, target, if_none_match=OTHER), 501, "NotImplemented", "If-None-Match of an ETag")
        refused(copy(s3, source, target, if_none_match="*", if_match="*"), 501, "NotImplemented", "both")
        is_body(s3, target, b"changed")
        eq(copy(s3, source, target, if_match=etag_of(b"changed")).status, 200, "If-Match")
        is_body(s3, target, body)
        eq(copy(s3, f"/one/src/{'large' if name == 'small' else 'small'}", target, if_match="*").status, 200, "If-Match: *")
        eq(s3.delete(target).status, 204, "DELETE")


# conditions on the source, with the source's ETag as {etag}: do they hold?
SOURCE = (
    (dict(source__if_match="{etag}"), True),
    (dict(source__if_match="*"), True),
    (dict(source__if_match=OTHER), False),
    (dict(source__if_match=OTHER + ", {etag}"), True),
    (dict(source__if_none_match=OTHER), True),
    (dict(source__if_none_match="{etag}"), False),
    (dict(source__if_modified_since=PAST), True),
    (dict(source__if_modified_since=FUTURE), False),
    (dict(source__if_unmodified_since=FUTURE), True),
    (dict(source__if_unmodified_since=PAST), False),
    # ETags count before times
    (dict(source__if_match="{etag}", source__if_unmodified_since=PAST), True),
    (dict(source__if_match=OTHER, source__if_unmodified_since=FUTURE), False),
    (dict(source__if_none_match="{etag}", source__if_modified_since=PAST), False),
    (dict(source__if_none_match=OTHER, source__if_modified_since=FUTURE), True),
    (dict(source__if_match="{etag}", source__if_none_match="{etag}"), False),
)


def conditions_of(row, etag):
    return {name: value.replace("{etag}", etag) for name, value in row.items()}


def copy_source(server, to):
    s3 = server.s3()
    for name, body in (("small", SMALL), ("large", LARGE)):
        for row, holds in SOURCE:
            r = copy(s3, f"/one/src/{name}", f"/{to}/by/source", **conditions_of(row, etag_of(body)))
            if holds:
                eq(r.status, 200, f"{row}")
                is_body(s3, f"/{to}/by/source", body)
                eq(s3.delete(f"/{to}/by/source").status, 204, "DELETE")
            else:
                refused(r, 412, "PreconditionFailed", f"{row}")
                gone(s3, f"/{to}/by/source")
    # both ends at once
    r = copy(s3, "/one/src/small", f"/{to}/by/both", source__if_match=etag_of(SMALL), if_none_match="*")
    eq(r.status, 200, "both hold")
    r = copy(s3, "/one/src/large", f"/{to}/by/both", source__if_match=etag_of(LARGE), if_none_match="*")
    refused(r, 412, "PreconditionFailed", "the target is there")
    r = copy(s3, "/one/src/large", f"/{to}/by/both", source__if_match=OTHER, if_match="*")
    refused(r, 412, "PreconditionFailed", "the source is another one")
    is_body(s3, f"/{to}/by/both", SMALL)
    refused(s3.put(f"/{to}/by/both", "x", **{"x-amz-copy-source-if-match": "*"}), 400, "InvalidRequest", "of no copy")


def begin(s3, path):
    r = s3.request("POST", path, query=[("uploads", "")])
    eq(r.status, 200, "CreateMultipartUpload")
    return r.body.split(b"<UploadId>")[1].split(b"</UploadId>")[0].decode()


def part(s3, path, upload, body, **headers):
    q = [("partNumber", "1"), ("uploadId", upload)]
    return s3.request("PUT", path, query=q, body=body, headers=headers)


def complete(s3, path, upload, etag, **conditions):
    text = f"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
    headers = {name.replace("_", "-"): value for name, value in conditions.items()}
    return s3.request("POST", path, query=[("uploadId", upload)], body=text, headers=headers)


def part_copy(server, to):
    s3 = server.s3()
    path = f"/{to}/parts/copied"
    upload = begin(s3, path)
    q = [("partNumber", "1"), ("uploadId", upload)]
    for row, holds in SOURCE:
        headers = {"x-amz-copy-source": "/one/src/large"}
        for name, value in conditions_of(row, etag_of(LARGE)).items():
            headers[name.replace("source__", "x-amz-copy-source-").replace("_", "-")] = value
        r = s3.request("PUT", path, query=q, headers=headers)
        listed = s3.request("GET", path, query=[("uploadId", upload)])
        eq(r.status, 200 if holds else 412, f"{row}")
        eq((listed.status, b"<PartNumber>1</PartNumber>" in listed.body), (200, holds), f"{row}: the part")
        eq(part(s3, path, upload, b"x").status, 200, "another part")
        eq(s3.request("DELETE", path, query=[("uploadId", upload)]).status, 204, "abort")
        upload = begin(s3, path)
        q = [("partNumber", "1"), ("uploadId", upload)]
    eq(s3.request("DELETE", path, query=[("uploadId", upload)]).status, 204, "abort")


def completes(server):
    s3 = server.s3()
    path = "/one/parts/in/deep"
    upload = begin(s3, path)
    etag = part(s3, path, upload, LARGE).header("etag")
    done = '"' + hashlib.md5(bytes.fromhex(etag.strip('"'))).hexdigest() + '-1"'
    refused(complete(s3, path, upload, etag, if_match=OTHER), 404, "NoSuchKey", "If-Match on nothing")
    refused(complete(s3, path, upload, etag, if_none_match=OTHER), 501, "NotImplemented", "If-None-Match of an ETag")
    gone(s3, path)
    r = complete(s3, path, upload, etag, if_none_match="*")
    eq((r.status, b"<Error>" in r.body), (200, False), "create-only")
    eq((s3.get(path).body == LARGE, s3.head(path).header("etag")), (True, done), "the object")
    # a condition that does not hold leaves the upload as it was
    upload = begin(s3, path)
    etag = part(s3, path, upload, SMALL).header("etag")
    refused(complete(s3, path, upload, etag, if_none_match="*"), 412, "PreconditionFailed", "create-only twice")
    refused(complete(s3, path, upload, etag, if_match=OTHER), 412, "PreconditionFailed", "another ETag")
    eq(s3.head(path).header("etag"), done, "unchanged")
    listed = s3.request("GET", path, query=[("uploadId", upload)])
    eq((listed.status, b"<PartNumber>1</PartNumber>" in listed.body), (200, True), "the upload is there")
    eq(complete(s3, path, upload, etag, if_match=done).status, 200, "If-Match")
    eq(s3.get(path).body, SMALL, "the object")
    # again, by one who lost the answer: as long as that is the object
    small = '"' + hashlib.md5(bytes.fromhex(etag.strip('"'))).hexdigest() + '-1"'
    for given in (etag, etag.strip('"')):
        r = complete(s3, path, upload, given, if_match=done)
        eq((r.status, small.encode() in r.body.replace(b"&quot;", b'"')), (200, True), "completed already")
    refused(complete(s3, path, upload, OTHER), 404, "NoSuchUpload", "other parts")
    refused(complete(s3, path, upload, "abc"), 404, "NoSuchUpload", "no parts")
    other = begin(s3, path)
    eq(part(s3, path, other, SMALL).header("etag"), etag, "the same part")
    eq(s3.request("DELETE", path, query=[("uploadId", other)]).status, 204, "abort")
    refused(complete(s3, path, other, etag), 404, "NoSuchUpload", "another upload, that was aborted")
    eq(s3.put(path, SMALL).status, 200, "PUT of the same bytes")
    refused(complete(s3, path, upload, etag), 404, "NoSuchUpload", "another object")
    eq(s3.delete(path).status, 204, "DELETE")
    refused(complete(s3, path, upload, etag), 404, "NoSuchUpload", "no object")


def deletes(server):
    s3 = server.s3()
    path = "/one/del/in/deep"
    refused(s3.request("DELETE", path, headers={"if-match": OTHER}), 404, "NoSuchKey", "If-Match on nothing")
    eq(s3.put(path, SMALL).status, 200, "PUT")
    refused(s3.request("DELETE", path, headers={"if-match": OTHER}), 412, "PreconditionFailed", "another ETag")
    refused(s3.request("DELETE", path, headers={"if-none-match": "*"}), 501, "NotImplemented", "If-None-Match")
    for name in ("x-amz-if-match-size", "x-amz-if-match-last-modified-time"):
        refused(s3.request("DELETE", path, headers={name: "11"}), 501, "NotImplemented", name)
    is_body(s3, path, SMALL)
    eq(s3.request("DELETE", path, headers={"if-match": etag_of(SMALL)}).status, 204, "If-Match")
    gone(s3, path)
    eq(s3.put(path, SMALL).status, 200, "PUT")
    eq(s3.request("DELETE", path, headers={"if-match": "*"}).status, 204, "If-Match: *")
    gone(s3, path)
    # many, each with its own
    for i in range(3):
        eq(s3.put(f"/one/del/{i}", f"body {i}").status, 200, "PUT")
    rows = ((0, etag_of(b"body 0")), (1, OTHER), (2, None), (3, OTHER), (4, None))
    text = "".join(f"<Object><Key>del/{i}</Key>{f'<ETag>{etag}</ETag>' if etag else ''}</Object>" for i, etag in rows)
    body = f"<Delete>{text}</Delete>".encode()
    md5 = base64.b64encode(hashlib.md5(body).digest()).decode()
    r = s3.request("POST", "/one", query=[("delete", "")], body=body, headers={"content-md5": md5})
    eq(r.status, 200, "DeleteObjects")
    said = [re.findall(rb"<(Deleted|Code>\w+)", e)[0] for e in re.findall(rb"<Deleted>.*?</Deleted>|<Error>.*?</Error>", r.body)]
    eq(said, [b"Deleted", b"Code>PreconditionFailed", b"Deleted", b"Code>NoSuchKey", b"Deleted"], "results")
    eq(s3.list("one", prefix="del/"), [b"del/1"], "what is left")
    eq(s3.delete("/one/del/1").status, 204, "DELETE")


def race(server, n, request):
    """request(s3, i) by n at once: their statuses."""
    got, gate = [], threading.Barrier(n)

    def one(i):
        s3 = server.s3()
        s3.connect()
        gate.wait()
        r = request(s3, i)
        got.append(r.code() or r.status)

    threads = [threading.Thread(target=one, args=(i,)) for i in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return sorted(map(str, got))


def races(server):
    s3, n = server.s3(), 6
    one_wins = sorted(["200"] + ["PreconditionFailed"] * (n - 1))
    for i in range(8):
        path = f"/two/race/{i}/key"
        eq(race(server, n, lambda s3, k: copy(s3, "/one/src/large", path, if_none_match="*")), one_wins, "copies")
        now = s3.head(path).header("etag")
        eq(race(server, n, lambda s3, k: copy(s3, "/one/src/small", path, if_match=now)), one_wins, "copies, If-Match")
        now = s3.head(path).header("etag")
        got = race(server, n, lambda s3, k: s3.request("DELETE", path, headers={"if-match": now}))
        eq(got, sorted(["204"] + ["NoSuchKey"] * (n - 1)), "deletes")
        gone(s3, path)
        uploads = [begin(s3, path) for _ in range(n)]
        etags = [part(s3, path, u, f"part {k}").header("etag") for k, u in enumerate(uploads)]
        got = race(server, n, lambda s3, k: complete(s3, path, uploads[k], etags[k], if_none_match="*"))
        eq(got, one_wins, "completes")
        # the losers' uploads are all that is left of them
        listed = s3.request("GET", "/two", query=[("uploads", ""), ("prefix", f"race/{i}/")])
        eq(listed.body.count(b"<UploadId>"), n - 1, "uploads that are left")
        for u in uploads:
            s3.request("DELETE", path, query=[("uploadId", u)])


def after_a_write_through_the_mount(server):
    """Has another ETag: no condition on the old one holds."""
    mount = Mount(server, "/one")
    s3 = server.s3()
    eq(s3.put("/one/both", SMALL).status, 200, "PUT")
    with open(mount.path("both"), "ab") as f:
        f.write(b", grown")
    old, now = etag_of(SMALL), s3.head("/one/both").header("etag")
    assert now and now != old, now
    refused(s3.request("DELETE", "/one/both", headers={"if-match": old}), 412, "PreconditionFailed", "DELETE")
    refused(copy(s3, "/one/src/large", "/one/both", if_match=old), 412, "PreconditionFailed", "copy to it")
    refused(copy(s3, "/one/both", "/one/copy", source__if_match=old), 412, "PreconditionFailed", "copy of it")
    eq(copy(s3, "/one/both", "/one/copy", source__if_match=now).status, 200, "copy of it")
    eq(s3.get("/one/copy").body, SMALL + b", grown", "the copy")
    os.unlink(mount.path("copy"))
    refused(copy(s3, "/one/both", "/one/copy", if_match="*"), 404, "NoSuchKey", "removed through the mount")
    eq(s3.request("DELETE", "/one/both", headers={"if-match": now}).status, 204, "DELETE")
    mount.umount()


def main():
    server = Server(spread=1)
    s3 = server.s3()
    for name in ("one", "two"):
        eq(s3.put(f"/{name}").status, 200, "bucket")
    for name, body in (("small", SMALL), ("large", LARGE)):
        eq(s3.put(f"/one/src/{name}", body).status, 200, "PUT")
    t = Tap()
    for to in ("one", "two"):
        t.run(f"copy to {to}: its target", copy_target, server, to)
        t.run(f"copy to {to}: its source", copy_source, server, to)
        t.run(f"UploadPartCopy to {to}", part_copy, server, to)
    for fn in (completes, deletes, races, after_a_write_through_the_mount):
        t.run(fn.__name__.replace("_", " "), fn, server)
    t.end()


main()
