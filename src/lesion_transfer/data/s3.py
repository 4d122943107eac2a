"""Files on S3, fetched once into the cache."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from urllib.parse import urlparse

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from lesion_transfer.errors import UserError


def fetch_s3(uri: str, folder: Path) -> Path:
    """Return a local copy of the object ``s3://bucket/key``, kept in ``folder`` by its ETag.

    Credentials, region and endpoint are boto3's own settings (``AWS_PROFILE``,
    ``AWS_ENDPOINT_URL``, …).

    Raises
    ------
    UserError
        The object cannot be read; the message carries S3's reason.
    """
    parts = urlparse(uri)
    bucket, key = parts.netloc, parts.path.lstrip("/")
    try:
        client = boto3.client("s3")
        etag = client.head_object(Bucket=bucket, Key=key)["ETag"].strip('"')
        name = hashlib.sha256(f"{uri} {etag}".encode()).hexdigest()[:16]
        local = folder / name / Path(key).name
        if not local.exists():
            local.parent.mkdir(parents=True, exist_ok=True)
            partial = local.with_name(f"{local.name}.{os.getpid()}.part")
            client.download_file(bucket, key, str(partial))
            partial.replace(local)  # never leaves half a file under the final name
    except (BotoCoreError, ClientError) as error:
        raise UserError(
            f"{uri} cannot be read: {error}",
            expected="s3://bucket/key that the current AWS settings may read",
            next_step="check the address, AWS_PROFILE and AWS_ENDPOINT_URL",
        ) from error
    return local
