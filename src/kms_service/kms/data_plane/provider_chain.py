"""AWS's chain of credential providers, as botocore walks it: from the environment to the metadata service.

It opens sockets, runs programs and reads files, so it is walked in a thread, and every wait is bounded.
"""

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kms_service.kms.data_plane.signer import AccessKeys

CONNECT_SECONDS = 1
READ_SECONDS = 3
PROCESS_SECONDS = 4


@dataclass(frozen=True, slots=True)
class Loaded:
    """Credentials, and a function that says whether they will have expired in that many seconds."""

    keys: AccessKeys
    expire_within: Callable[[float], bool]


class NoCredentials(Exception):
    """There are no credentials, or none can be obtained now; `name` is botocore's name for the reason."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def walk(region: str) -> Loaded:
    """New credentials from botocore's chain. It blocks: run it in a thread.

    Raises:
        NoCredentials: no provider has any, or one failed.
    """
    # 10 MB that a process with credentials in its settings need not load.
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 # as above

    try:
        found = _session(region).get_credentials()
        if found is None:
            raise NoCredentials("NoCredentialsError")
        frozen = found.get_frozen_credentials()
    except (BotoCoreError, ClientError, OSError, ValueError, KeyError, subprocess.SubprocessError) as error:
        # Only the type: the text may quote a program's output, and that may hold credentials.
        raise NoCredentials(type(error).__name__) from None
    keys = AccessKeys(frozen.access_key, frozen.secret_key, frozen.token)
    return Loaded(keys, getattr(found, "refresh_needed", _never))


def _session(region: str) -> Any:
    import botocore.session  # noqa: PLC0415 # as above
    from botocore.config import Config  # noqa: PLC0415 # as above
    from botocore.credentials import ProcessProvider  # noqa: PLC0415 # as above

    session: Any = botocore.session.Session()
    session.set_config_variable("region", region)
    # Time-outs for STS and SSO; botocore's for the container's and the machine's metadata service are short.
    session.set_default_client_config(
        Config(connect_timeout=CONNECT_SECONDS, read_timeout=READ_SECONDS, retries={"total_max_attempts": 1})
    )
    providers = session.get_component("credential_provider")
    bounded = ProcessProvider(session.profile or "default", lambda: session.full_config, popen=_Bounded)
    providers.insert_before(ProcessProvider.METHOD, bounded)
    return session


class _Bounded(subprocess.Popen[bytes]):
    """A `credential_process` that is killed if it takes too long: botocore itself would wait for ever."""

    def communicate(self, input: Any = None, timeout: float | None = None) -> tuple[bytes, bytes]:  # noqa: A002
        try:
            return super().communicate(input, timeout or PROCESS_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            super().communicate()
            raise


def _never(refresh_in: float) -> bool:
    del refresh_in
    return False
