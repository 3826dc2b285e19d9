"""Errors that keep a process from serving."""

from collections.abc import Sequence

from kms_service.errors.service import KmsServiceError


class StartupError(KmsServiceError):
    """The process must not serve. `exit_code` follows sysexits.h."""

    exit_code = 70


class SettingsError(StartupError):
    """Settings are missing or wrong; the message lists all `problems`, without values."""

    code = "settings"
    exit_code = 78

    def __init__(self, problems: Sequence[str], advice: str) -> None:
        lines = "".join(f"\n  {problem}" for problem in problems)
        super().__init__(f"cannot start, these settings need attention:{lines}\n{advice}")
        self.problems = tuple(problems)


class SchemaBehind(StartupError):
    """The database's schema is older than this code needs; the message names the command that fixes it."""

    code = "schema_behind"
    exit_code = 78


class MigrationFailed(StartupError):
    """A migration failed; the database is as it was before that migration."""

    code = "migration_failed"
    exit_code = 75


class NoKeyAtStart(StartupError):
    """No key of the pool can be used; the message has a line for each key."""

    code = "no_usable_key"
    exit_code = 69
