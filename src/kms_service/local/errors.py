"""What can stop the laptop mode before it serves."""

from kms_service.errors import StartupError


class LocalError(StartupError):
    """The laptop mode cannot start or go on; the message is one line that says why and what to do."""

    code = "local"
    exit_code = 69
