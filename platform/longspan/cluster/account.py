"""AWS as the user's own credentials see it. What goes wrong is told by its code, without what AWS wrote about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from longspan.errors import UserError

Answer = TypeVar("Answer")
DENIED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "403"}
STALE = {"ExpiredToken", "ExpiredTokenException", "RequestExpired"}
WRONG = {
    "AuthFailure",
    "InvalidClientTokenId",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}
HOW = "`aws configure`, `aws sso login`, or AWS_PROFILE say which to use"


class Denied(UserError):
    """The credentials may not ask that."""


class Account:
    """One region of an account.

    Args:
        region: of everything that is asked.

    Raises:
        UserError: AWS_PROFILE names no profile.
    """

    def __init__(self, region: str) -> None:
        import boto3
        from botocore.exceptions import ProfileNotFound

        try:
            self._session = boto3.Session(region_name=region)
        except ProfileNotFound as error:
            raise UserError(f"AWS: {error}; {HOW}") from None
        self.region = region

    def client(self, service: str) -> Any:
        """Boto3's client: patient for seconds, not minutes."""
        from botocore.config import Config

        patience = Config(connect_timeout=5, read_timeout=20, retries={"total_max_attempts": 3})
        # By its name, the service is not known to the type checker.
        make: Callable[..., Any] = self._session.client
        return make(service, config=patience)

    def ask(
        self, action: str, request: Callable[[], Answer], missing: Sequence[str] = ()
    ) -> Answer | None:
        """Make one request.

        Args:
            action: the permission it takes, as IAM calls it.
            request: a call of a client's method.
            missing: codes that mean that there is no such thing.

        Returns:
            The answer; None where there is no such thing.

        Raises:
            Denied: the credentials may not ask that.
            UserError: there are no credentials, they are not good, or AWS cannot be reached.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return request()
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", "?"))
            if code in missing:
                return None
            raise _explain(action, code) from None
        except BotoCoreError as error:
            # Their texts hold addresses and file names; their names are enough.
            raise UserError(_no_answer(action, type(error).__name__, self.region)) from None


def _explain(action: str, code: str) -> UserError:
    if code in DENIED:
        return Denied(f"AWS: these credentials may not do {action}")
    if code in STALE:
        return UserError(f"AWS: the credentials have expired; {HOW}")
    if code in WRONG:
        return UserError(f"AWS: the credentials are not good ({code}); {HOW}")
    return UserError(f"AWS: {action} failed: {code}")


def _no_answer(action: str, error: str, region: str) -> str:
    if "Credential" in error or "Token" in error or "SSO" in error:
        return f"AWS: no credentials were found, or only a part of them ({error}); {HOW}"
    return f"AWS: {action} got no answer ({error}); is there a region {region}, and a way to it?"
