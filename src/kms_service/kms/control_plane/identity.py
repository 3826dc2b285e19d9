"""Whose credentials these are, by AWS STS."""

from dataclasses import dataclass

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from kms_service.kms.control_plane.administration import AdministrationFailed
from kms_service.kms.control_plane.client import session
from kms_service.settings import Settings

_SECONDS = 3


@dataclass(frozen=True, slots=True)
class Identity:
    """The account, and the user or assumed role, that calls are made as."""

    account: str
    arn: str

    @property
    def partition(self) -> str:
        """`aws`, `aws-cn` or `aws-us-gov`."""
        return self.arn.split(":")[1]


def caller_identity(settings: Settings) -> Identity:
    """Ask sts:GetCallerIdentity, which no policy can refuse.

    Raises:
        AdministrationFailed: no credentials, wrong ones, or STS cannot be reached.
    """
    config = Config(connect_timeout=_SECONDS, read_timeout=_SECONDS, retries={"total_max_attempts": 2})
    try:
        sts = session(settings).client("sts", endpoint_url=settings.aws_endpoint_url_sts, config=config)
        reply = sts.get_caller_identity()
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", "Unknown"))
        raise AdministrationFailed("GetCallerIdentity", "these credentials", code) from None
    except BotoCoreError as error:
        raise AdministrationFailed("GetCallerIdentity", "these credentials", type(error).__name__) from None
    return Identity(reply["Account"], reply["Arn"])
