"""Tries out AWS's own settings at the start, which botocore reads from the environment and its files."""

import os
from pathlib import Path

# With a wrong value in one of these, no client can be made.
_READ = (
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_DEFAULTS_MODE",
    "AWS_RETRY_MODE",
    "AWS_MAX_ATTEMPTS",
    "AWS_STS_REGIONAL_ENDPOINTS",
)
_CONFIG = "AWS_CONFIG_FILE"
_WHERE = {
    "ProfileNotFound": "AWS_PROFILE",
    "ConfigParseError": _CONFIG,
    "InvalidDefaultsMode": "AWS_DEFAULTS_MODE",
    "InvalidRetryModeError": "AWS_RETRY_MODE",
    "InvalidMaxRetryAttemptsError": "AWS_MAX_ATTEMPTS",
    "InvalidSTSRegionalEndpointsConfigError": "AWS_STS_REGIONAL_ENDPOINTS",
}


def problems_of_botocore() -> list[str]:
    """Which of its own settings botocore cannot use, by variable, never by value; quick if none are set."""
    config = Path(os.environ.get(_CONFIG) or "~/.aws/config").expanduser()
    # What is no file, such as a laptop session's /dev/null, botocore does not read either.
    if not config.is_file() and not any(os.environ.get(name) for name in _READ):
        return []
    import botocore.session  # noqa: PLC0415 # 10 MB that a process without such settings does without
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415 # as above

    try:
        # STS's client reads all that KMS's does, and more.
        botocore.session.Session().create_client(
            "sts",
            region_name="us-east-1",
            aws_access_key_id="none",
            aws_secret_access_key="none",  # noqa: S106 # it is asked nothing
        )
    except (BotoCoreError, ValueError, OSError) as error:
        name = type(error).__name__
        where = _WHERE.get(name) or next((each for each in _READ if os.environ.get(each)), _CONFIG)
        return [f"{where}: AWS's client cannot be made with it ({name})"]
    return []
