"""What can stop the laptop mode before it serves."""


class LocalError(Exception):
    """The laptop mode cannot start or go on; the message is one line that says why and what to do."""
