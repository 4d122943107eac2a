"""What S3 refuses, in this package's words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    HTTPClientError,
    IncompleteReadError,
)

from lesion_transfer.data.download import TransferError, UnreachableError
from lesion_transfer.errors import UserError

_DENIED = frozenset(
    {
        "403",
        "AccessDenied",
        "AllAccessDisabled",
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidToken",
        "SignatureDoesNotMatch",
    }
)
_MISSING = frozenset({"404", "NoSuchKey", "NotFound"})


def is_denied(error: Exception) -> bool:
    """Whether S3 wants other credentials."""
    return _code(error) in _DENIED


def is_missing(error: Exception) -> bool:
    """Whether there is no such object."""
    return _code(error) in _MISSING


@contextmanager
def translated(uri: str, *, transfer: bool = False) -> Iterator[None]:
    """Turn what botocore raises into what this package does; ``transfer``: what may pass, too."""
    try:
        yield
    except (BotoCoreError, ClientError) as error:
        lost = isinstance(error, ConnectionError | HTTPClientError | IncompleteReadError)
        busy = isinstance(error, ClientError) and _status(error) >= 500
        if transfer and (lost or busy):
            raise TransferError(str(error)) from error
        raise _user_error(uri, error, lost) from error


def _user_error(uri: str, error: BotoCoreError | ClientError, lost: bool) -> UserError:
    code = _code(error)
    if lost:
        return UnreachableError(
            f"{uri} cannot be reached: {error}",
            next_step="check the connection, AWS_ENDPOINT_URL and the proxy",
        )
    if code == "NoSuchBucket":
        return UserError(
            f"{uri}: there is no such bucket",
            expected="s3://bucket/prefix",
            next_step="check the bucket's name and AWS_ENDPOINT_URL",
        )
    if is_denied(error):
        return UserError(
            f"{uri} may not be read with the current AWS credentials, nor without any: {error}",
            expected="a public bucket, or credentials that may list and read it",
            next_step="set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        )
    if code == "PreconditionFailed":
        return UserError(
            f"{uri} changed while it was fetched", next_step="run the same command again"
        )
    return UserError(
        f"{uri} cannot be read: {error}",
        expected="an address on S3 that the current AWS settings may read",
        next_step="check the address, AWS_PROFILE and AWS_ENDPOINT_URL",
    )


def _code(error: Exception) -> str:
    response = error.response if isinstance(error, ClientError) else {}
    return str(response.get("Error", {}).get("Code", ""))


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
