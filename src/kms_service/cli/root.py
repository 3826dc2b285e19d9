"""The top command: every subcommand, and how their errors end.

An error of ours ends as one line on standard error and a code of sysexits.h, never as a traceback.
"""

import sys
from importlib import import_module

import click

from kms_service import __version__
from kms_service.cli.lasting import lasting
from kms_service.errors import CallerError, KmsServiceError, StartupError

_TEMPORARY_FAILURE = 75

# Imported when used: starting a small command must not load every library.
_COMMANDS = {
    "serve": "kms_service.cli.serve:serve",
    "migrate": "kms_service.cli.migrate:migrate",
    "cost": "kms_service.cli.cost:cost",
    "local": "kms_service.cli.local:local",
    "pool": "kms_service.cli.pool:pool",
    "rotation": "kms_service.cli.rotation:rotation",
    "verify": "kms_service.cli.verify:verify",
    "token": "kms_service.cli.token:token",
    "seal": "kms_service.cli.seal:seal",
    "unseal": "kms_service.cli.seal:unseal",
    "wallet": "kms_service.cli.wallet:wallet",
    "canary": "kms_service.cli.canary:canary",
    "audit": "kms_service.cli.audit:audit",
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name].partition(":")
        if module not in sys.modules:
            with lasting():
                import_module(module)
        command: click.Command = getattr(sys.modules[module], name)
        return command


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="kms-service")
def root() -> None:
    """Custody of Ethereum wallets in front of AWS KMS and PostgreSQL."""


def main() -> None:
    """Run the command line and exit: 0 only on success."""
    try:
        # Where it does not end the process itself, click answers the code of an `Exit`.
        sys.exit(root(standalone_mode=False))
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except KmsServiceError as error:
        click.echo(f"kms-service: {error}", err=True)
        sys.exit(exit_code(error))


def exit_code(error: KmsServiceError) -> int:
    """What a process ends with that this error has stopped, by sysexits.h."""
    if isinstance(error, StartupError):
        return error.exit_code
    return 1 if isinstance(error, CallerError) else _TEMPORARY_FAILURE
