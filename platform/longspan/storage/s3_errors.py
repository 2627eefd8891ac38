"""What the errors of S3 clients mean, in words that name what to change.

The clients' own texts are not passed on: some repeat request headers.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass

from boto3.exceptions import Boto3Error
from botocore import exceptions as botocore
from s3transfer.exceptions import RetriesExceededError

from longspan.errors import Unreachable, UserError
from longspan.job_environment import environment_in_words, is_submitted

ERRORS = (botocore.ClientError, botocore.BotoCoreError, Boto3Error, RetriesExceededError)

KEYS = "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_PROFILE or the node's role"
REFUSED = {
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "InvalidToken",
    "InvalidClientTokenId",
    "ExpiredToken",
    "TokenRefreshRequired",
    "UnrecognizedClientException",
}
DENIED = {"AccessDenied", "Forbidden", "403", "AllAccessDisabled", "AccountProblem"}
BUSY = {"SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout", "500", "502", "503"}
OTHER_REGION = {"PermanentRedirect", "AuthorizationHeaderMalformed", "301", "IllegalLocation"}


@dataclass(frozen=True)
class Where:
    """What was being done when the error came.

    Attributes:
        uri: the object or prefix.
        bucket: its bucket's name.
        place: " at <endpoint>", or nothing for AWS itself.
        doing: "read", "write", "list" or "delete".
    """

    uri: str
    bucket: str
    place: str
    doing: str


def explain(error: Exception, where: Where, buckets: Callable[[], list[str]]) -> Exception:
    """A UserError that says what to do, or FileNotFoundError for an object that is not there.

    It is Unreachable where nothing answers, or says only that it can't now.

    Args:
        error: what a client raised.
        where: what was being done.
        buckets: gives the names of the buckets that exist, for the nearest one.
    """
    code = code_of(error)
    if code == "NoSuchBucket":
        return UserError(_no_bucket(where, buckets()))
    if isinstance(error, FileNotFoundError) or code in {"NoSuchKey", "404"}:
        return FileNotFoundError(f"{where.uri} does not exist")
    kind = Unreachable if code in BUSY or _is_silence(error) else UserError
    return kind(f"cannot {where.doing} {where.uri}{where.place}: {_reason(error, code)}")


def _is_silence(error: Exception) -> bool:
    if isinstance(
        error, botocore.ConnectionError | botocore.HTTPClientError | RetriesExceededError
    ):
        return True
    # Arrow's words.
    return bool(re.search(r"AWS Error (NETWORK_CONNECTION|.*HTTP status 5\d\d)", str(error)))


def _reason(error: Exception, code: str) -> str:
    if isinstance(error, botocore.NoCredentialsError | botocore.PartialCredentialsError):
        return f"no credentials found in {environment_in_words()}: set {KEYS} there{_for_one_job()}"
    if code in REFUSED:
        return (
            f"the server refuses the credentials ({code}): check {KEYS} in {environment_in_words()}"
        )
    if code in DENIED:
        return (
            f"the credentials found do not allow it ({code}): check {KEYS} in {environment_in_words()}, "
            "and the policy"
        )
    if code in OTHER_REGION:
        return f"the bucket is in another region ({code}): set storage.region"
    if _is_silence(error):
        return f"no answer ({code}): check storage.endpoint or AWS_ENDPOINT_URL, and the network"
    return code


def _for_one_job() -> str:
    if not is_submitted():
        return ""
    return (
        ", or give them to this job alone: ray job submit --runtime-env FILE (docs/run.md, On S3)"
    )


def _no_bucket(where: Where, buckets: list[str]) -> str:
    near = difflib.get_close_matches(where.bucket, buckets, 1, 0.0)
    hint = f"; the nearest that does is {near[0]!r}" if near else ""
    return f"bucket {where.bucket!r} does not exist{where.place}{hint}"


def code_of(error: Exception) -> str:
    """The server's error code; Arrow has it in its text, in capitals: "AWS Error ACCESS_DENIED"."""
    # An upload wraps the error that stopped it.
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, botocore.ClientError):
            return cause.response.get("Error", {}).get("Code") or "unknown error"
        cause = cause.__cause__ or cause.__context__
    arrow = re.search(r"AWS Error ([A-Z0-9_]+)", str(error))
    if arrow:
        return "".join(word.capitalize() for word in arrow[1].split("_"))
    wrapped = re.search(r"\((\w+)\) when calling", str(error))
    return wrapped[1] if wrapped else type(error).__name__
