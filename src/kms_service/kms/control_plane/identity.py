"""Whose credentials the process has, by AWS STS."""

from dataclasses import dataclass
from functools import partial

from kms_service.kms.control_plane.client import in_thread, session
from kms_service.settings import Settings

_SECONDS = 3


@dataclass(frozen=True, slots=True)
class Identity:
    """The account and the user or assumed role that calls are made as."""

    account: str
    arn: str

    @property
    def partition(self) -> str:
        """`aws`, `aws-cn` or `aws-us-gov`."""
        return self.arn.split(":")[1]


async def caller_identity(settings: Settings) -> Identity:
    """Who the credentials belong to (sts:GetCallerIdentity, which no policy can deny); boto3 in a thread.

    Raises:
        AdministrationFailed: there are no credentials, they are wrong, or STS cannot be reached.
    """
    return await in_thread("GetCallerIdentity", "these credentials", partial(_ask, settings))


def _ask(settings: Settings) -> Identity:
    from botocore.config import Config  # noqa: PLC0415 # slow to load: for this command only

    config = Config(connect_timeout=_SECONDS, read_timeout=_SECONDS, retries={"total_max_attempts": 2})
    sts = session(settings).client("sts", endpoint_url=settings.aws_endpoint_url_sts, config=config)
    reply = sts.get_caller_identity()
    return Identity(reply["Account"], reply["Arn"])
