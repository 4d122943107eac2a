"""Fetching from moto's S3 server, and from one that misbehaves, both on loopback."""

import hashlib
import io
import json
import os
import threading
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from servers import Site, tree, zipped

from lesion_transfer.data import download as downloading
from lesion_transfer.data.adapters import open_dataset
from lesion_transfer.data.fetch import fetch
from lesion_transfer.data.s3 import etag_of_parts, fetch_s3
from lesion_transfer.errors import UserError

NOISE = os.urandom(3_000_000)


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return monkeypatch


@pytest.fixture
def s3(moto: str, aws: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Any:
    """A client, and a bucket of the test's own."""
    aws.setenv("AWS_ENDPOINT_URL", moto)
    aws.setenv("AWS_ACCESS_KEY_ID", "testing")
    aws.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    aws.setenv("AWS_DEFAULT_REGION", "us-east-1")
    client = boto3.client("s3")
    bucket = "b-" + hashlib.sha1(request.node.name.encode()).hexdigest()[:12]
    client.create_bucket(Bucket=bucket)
    return SimpleNamespace(client=client, bucket=bucket, put=partial(_put, client, bucket))


def _put(client: Any, bucket: str, **objects: bytes) -> None:
    for name, content in objects.items():
        key = name.replace("__", "/").replace("_csv", ".csv").replace("_jpg", ".jpg")
        client.put_object(Bucket=bucket, Key=key.replace("_zip", ".zip"), Body=content)


def _downloads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record the names of what is downloaded."""
    names: list[str] = []
    original = downloading._append

    def counting(remote: Any, file: Any, *rest: Any) -> bool:
        names.append(file.name)
        return original(remote, file, *rest)

    monkeypatch.setattr(downloading, "_append", counting)
    return names


def test_a_prefix_is_fetched_once_and_changes_are_noticed(
    s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.put(set__mel__a_jpg=b"1", set__nv__b_jpg=NOISE, set__nv__empty_jpg=b"", settings_csv=b"no")
    s3.client.put_object(Bucket=s3.bucket, Key="set/nv/")  # as consoles make folders
    names = _downloads(monkeypatch)
    uri = f"s3://{s3.bucket}/set"
    folder = fetch(uri, tmp_path, "folder")
    assert tree(folder) == {"mel/a.jpg": b"1", "nv/b.jpg": NOISE, "nv/empty.jpg": b""}
    assert fetch(f"{uri}/", tmp_path, "folder") is not None
    names.clear()
    assert fetch(uri, tmp_path, "folder") == folder
    assert names == []
    s3.put(set__mel__a_jpg=b"2", set__mel__c_jpg=b"3")
    assert tree(fetch(uri, tmp_path, "folder"))["mel/a.jpg"] == b"2"
    assert sorted(names) == ["mel/a.jpg", "mel/c.jpg"]


def test_a_data_set_takes_its_own_files(
    s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = zipped(ISBI2016_ISIC_Part3_Test_Data__I_0_jpg=b"1")
    s3.put(
        y__ISBI2016_ISIC_Part3_Test_Data_zip=image,
        y__ISBI2016_ISIC_Part3_Test_GroundTruth_csv=b"I_0,1.0\n",
        y__ISBI2016_ISIC_Part1_Test_Data_zip=NOISE,
        y__ISBI2016_ISIC_Part3B_Test_Data_zip=NOISE,
    )
    names = _downloads(monkeypatch)
    data = open_dataset("isic2016", f"s3://{s3.bucket}/y", downloads=tmp_path)
    assert [(r.image_id, r.diagnosis, r.split) for r in data.records] == [
        ("I_0", "melanoma", "test")
    ]
    assert sorted(set(names)) == [
        "ISBI2016_ISIC_Part3_Test_Data.zip",
        "ISBI2016_ISIC_Part3_Test_GroundTruth.csv",
    ]
    again = open_dataset("isic2016", f"s3://{s3.bucket}/y", downloads=tmp_path / "elsewhere")
    assert again.listing_digest == data.listing_digest  # dates are those of the source


@pytest.mark.parametrize(
    ("table", "folder"),
    [("ISIC_2020_Training_GroundTruth_v2.csv", "train"), ("train.csv", "jpeg/train")],
)
def test_a_copy_that_is_unpacked(s3: Any, tmp_path: Path, table: str, folder: str) -> None:
    row = "image_name,patient_id,diagnosis,target\nI_0,P,nevus,0\n"
    objects = {table: row.encode(), f"{folder}/I_0.jpg": b"1", "ISIC_2020_Test_JPEG.zip": NOISE}
    for key, content in objects.items():
        s3.client.put_object(Bucket=s3.bucket, Key=f"mine/{key}", Body=content)
    data = open_dataset("isic2020", f"s3://{s3.bucket}/mine", downloads=tmp_path)
    assert [record.path.is_file() for record in data.records if record.path] == [True]
    assert not list(tmp_path.rglob("*Test*"))


def test_a_folder_of_its_own_below_the_prefix(s3: Any, tmp_path: Path) -> None:
    s3.put(eyepacs__trainLabels_csv=b"image,level\n1_left,0\n", eyepacs__train__x_jpg=b"1")
    s3.put(other__huge_jpg=NOISE)
    data = open_dataset("eyepacs", f"s3://{s3.bucket}", downloads=tmp_path)
    assert [record.image_id for record in data.records] == ["1_left"]
    assert not list(tmp_path.rglob("huge.jpg"))


def test_public_buckets_need_no_credentials(
    s3: Any, aws: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for key in ("p/a/x.jpg", "p/b/y.jpg"):
        s3.client.put_object(Bucket=s3.bucket, Key=key, Body=b"1", ACL="public-read")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        aws.delenv(name)
    assert len(tree(fetch(f"s3://{s3.bucket}/p", tmp_path, "folder"))) == 2
    s3.client.put_object(Bucket=s3.bucket, Key="p/private.jpg", Body=b"1")
    with pytest.raises(UserError, match=r"p/private\.jpg may not be read"):
        fetch(f"s3://{s3.bucket}/p", tmp_path, "folder")


def test_uploads_in_parts_are_checked_too(s3: Any, tmp_path: Path) -> None:
    content = os.urandom(11 << 20)
    s3.client.upload_fileobj(
        io.BytesIO(content),
        s3.bucket,
        "d/a/x.jpg",
        Config=boto3.s3.transfer.TransferConfig(multipart_threshold=1, multipart_chunksize=5 << 20),
    )
    etag = s3.client.head_object(Bucket=s3.bucket, Key="d/a/x.jpg")["ETag"].strip('"')
    assert etag.endswith("-3")
    folder = fetch(f"s3://{s3.bucket}/d", tmp_path, "csv")
    (path,) = folder.rglob("x.jpg")
    assert path.read_bytes() == content
    assert etag_of_parts(path, 5 << 20) == etag


def test_names_that_lead_out_are_refused(s3: Any, tmp_path: Path) -> None:
    s3.client.put_object(Bucket=s3.bucket, Key="p/x\\..\\y.jpg", Body=b"1")
    with pytest.raises(UserError, match="leads out of the folder"):
        fetch(f"s3://{s3.bucket}/p", tmp_path, "folder")


def test_missing_bucket_and_empty_prefix(s3: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such bucket"):
        fetch("s3://no-such-bucket-here/x", tmp_path, "folder")
    with pytest.raises(UserError, match="holds none of its files; it has nothing"):
        fetch(f"s3://{s3.bucket}/x", tmp_path, "folder")
    with pytest.raises(UserError, match="names no bucket"):
        fetch("s3:///x", tmp_path, "folder")


def test_a_single_object(s3: Any, tmp_path: Path) -> None:
    s3.put(models__net_jpg=NOISE)
    uri = f"s3://{s3.bucket}/models/net.jpg"
    path = fetch_s3(uri, tmp_path)
    assert path.read_bytes() == NOISE
    assert fetch_s3(uri, tmp_path) == path
    with pytest.raises(UserError, match="does not exist"):
        fetch_s3(f"s3://{s3.bucket}/models/Net.jpg", tmp_path)


LISTING = """<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name>
<KeyCount>1</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated>
<Contents><Key>p/x.jpg</Key><LastModified>2016-04-01T00:00:00.000Z</LastModified>
<ETag>&quot;{etag}&quot;</ETag><Size>{size}</Size></Contents></ListBucketResult>"""


@pytest.fixture
def false_s3(site: Site, aws: pytest.MonkeyPatch) -> Site:
    """A server that lists one object, p/x.jpg of bucket b, as S3 does."""
    aws.setenv("AWS_ENDPOINT_URL", site.url)
    site.etags, site.heads = False, True
    site.files["/b/p/x.jpg"] = NOISE
    _list(site, hashlib.md5(NOISE).hexdigest())
    return site


def _list(site: Site, etag: str) -> None:
    site.files["/b"] = LISTING.format(etag=etag, size=len(NOISE)).encode()


def test_an_object_is_continued(false_s3: Site, tmp_path: Path) -> None:
    false_s3.cut = [10_000, 1_000_000, 100_000]  # the first is the listing's
    assert tree(fetch("s3://b/p", tmp_path, "csv")) == {"x.jpg": NOISE}
    starts = [start for path, start, _ in false_s3.sent if path == "/b/p/x.jpg"]
    assert starts == [0, 1_000_000, 1_100_000]
    assert false_s3.bytes_of("/b/p/x.jpg") == len(NOISE)


def test_an_object_with_a_wrong_checksum(false_s3: Site, tmp_path: Path) -> None:
    _list(false_s3, "0" * 32)
    with pytest.raises(UserError, match=r"s3://b/p/x\.jpg arrived damaged, twice: its MD5 is"):
        fetch("s3://b/p", tmp_path, "csv")
    assert not list(tmp_path.rglob("*x.jpg*"))
    false_s3.headers["x-amz-server-side-encryption"] = "aws:kms"  # then the ETag is no MD5
    assert tree(fetch("s3://b/p", tmp_path, "csv")) == {"x.jpg": NOISE}


def test_official_names_where_listing_is_denied(
    site: Site, aws: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    aws.setenv("AWS_ENDPOINT_URL", site.url)
    image = zipped(ISBI2016_ISIC_Part3_Test_Data__I_0_jpg=b"1")
    site.files = {
        "/b/2016/ISBI2016_ISIC_Part3_Test_Data.zip": image,
        "/b/2016/ISBI2016_ISIC_Part3_Test_GroundTruth.csv": b"I_0,1.0\n",
    }
    site.heads, site.otherwise = True, 403  # as S3 answers who may get but not list
    site.headers["x-amz-server-side-encryption"] = "aws:kms"
    data = open_dataset("isic2016", "s3://b/2016", downloads=tmp_path)
    assert [record.image_id for record in data.records] == ["I_0"]
    with pytest.raises(UserError, match="may not be read"):
        open_dataset("isic2016", "s3://b/2017", downloads=tmp_path)


@pytest.mark.parametrize("credentials", [False, True])
def test_a_private_bucket(
    site: Site, aws: pytest.MonkeyPatch, tmp_path: Path, credentials: bool
) -> None:
    aws.setenv("AWS_ENDPOINT_URL", site.url)
    if credentials:
        aws.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
        aws.setenv("AWS_SECRET_ACCESS_KEY", "very-secret")
    site.status = 403
    site.body = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
    with pytest.raises(UserError, match="may not be read with the current AWS") as error:
        fetch("s3://b/p", tmp_path, "folder")
    assert "AWS_PROFILE" in error.value.next_step
    assert "secret" not in str(error.value).replace("AWS_SECRET_ACCESS_KEY", "")


def test_no_server_at_all(aws: pytest.MonkeyPatch, tmp_path: Path) -> None:
    aws.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(UserError, match="cannot be reached"):
        fetch("s3://b/p", tmp_path, "folder")


def test_a_killed_fetch_goes_on(s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    s3.put(**{f"k__c__{k}_jpg": bytes([k]) * 1000 for k in range(30)})
    uri, names = f"s3://{s3.bucket}/k", _downloads(monkeypatch)
    lock, original = threading.Lock(), downloading._mismatch

    def fail_later(*args: Any) -> str:
        with lock:
            if len(names) > 10:
                raise KeyboardInterrupt
        return original(*args)

    monkeypatch.setattr(downloading, "_mismatch", fail_later)
    with pytest.raises(KeyboardInterrupt):
        fetch(uri, tmp_path, "csv")
    monkeypatch.setattr(downloading, "_mismatch", original)
    (journal,) = tmp_path.rglob("fetched.jsonl")
    done = {json.loads(line)[0] for line in journal.read_text().splitlines()}
    with journal.open("a") as lines:
        lines.write('["c/29.jpg", 10')  # cut short by the crash
    names.clear()
    folder = fetch(uri, tmp_path, "csv")
    assert len(tree(folder)) == 30
    assert not done & set(names)
    assert 0 < len(done) < 30
