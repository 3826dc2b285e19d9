"""The top command: every subcommand, and how their errors end.

One of our errors ends as one line on standard error and an exit code of sysexits.h, never as a traceback.
"""

import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module

import click

from kms_service import __version__
from kms_service.cli.lines import warn
from kms_service.cli.local import join_session
from kms_service.errors import CallerError, DatabaseUnavailable, KmsError, KmsServiceError, StartupError
from kms_service.garbage_collection import start_without_collection
from kms_service.laptop import LOCAL_FOLDER_VARIABLE

_TEMPORARY_FAILURE = 75

# Each command's module, imported on use (a small command loads few libraries), and its line in the list.
_COMMANDS = {
    "serve": ("process.serve", "Serve HTTP on HOST and PORT."),
    "migrate": ("migrate", "Bring the database's schema up to date."),
    "cost": ("cost", "Project what AWS KMS costs in a month."),
    "local": ("local", "Serve on this machine, with its own PostgreSQL and KMS stand-in."),
    "pool": ("pool.group", "Show and change the pool of KMS keys."),
    "rotation": ("rewrap.rotation", "Move wallets from some KMS keys to others."),
    "verify": ("wallets.verify", "Open and check every wallet; releases nothing."),
    "token": ("access.token", "Create, rotate, list and revoke callers' tokens."),
    "policy": ("access.policy", "Set and show the policies that limit callers' tokens."),
    "seal": ("access.seal", "Stop every private-key read, export and signature."),
    "unseal": ("access.seal", "Allow private-key reads, exports and signatures again."),
    "wallet": ("wallets.wallet", "List wallets, import one, and repair replaced DEKs."),
    "adopt": ("wallets.adopt", "Take over the wallets of the ported service."),
    "canary": ("access.canary", "Mark wallets that nobody should ever open."),
    "audit": ("audit.group", "Verify, read, export and reconcile the audit log."),
}


_HELP = f"{__name__}.help"


class _Commands(click.Group):
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[_HELP] = not {"-h", "--help"}.isdisjoint(args)
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in _COMMANDS:
            return None
        module = f"kms_service.cli.{_COMMANDS[cmd_name][0]}"
        if module not in sys.modules:
            with start_without_collection():
                import_module(module)
        command: click.Command = getattr(sys.modules[module], cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in _COMMANDS.items()])


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="kms-service")
@click.option(
    "--local",
    "on_session",
    is_flag=True,
    help=f"Join the laptop session in .local, or in the folder that {LOCAL_FOLDER_VARIABLE} names.",
)
@click.pass_context
def root(context: click.Context, *, on_session: bool) -> None:
    """Custody of Ethereum wallets in front of AWS KMS and PostgreSQL."""
    wanted = on_session or bool(os.environ.get(LOCAL_FOLDER_VARIABLE))
    if wanted and context.invoked_subcommand != "local" and not context.meta[_HELP]:
        context.with_resource(join_session())


def main() -> None:
    """Run the command line and exit: 0 only on success."""
    try:
        _require_text(sys.argv[1:])
        # Unless it ends the process itself, click returns the code of an `Exit`.
        sys.exit(root(standalone_mode=False))
    except click.ClickException as error:
        # It repeats what was typed, which may have been copied from elsewhere.
        told = io.StringIO()
        error.show(told)
        warn(*told.getvalue().expandtabs(4).removesuffix("\n").split("\n"))
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except KmsServiceError as error:
        warn(*f"kms-service: {describe(error)}".split("\n"))
        sys.exit(exit_code(error))


def _require_text(words: Sequence[str]) -> None:
    try:
        "".join(words).encode()
    except UnicodeEncodeError:
        # Neither the database nor a log could hold it.
        raise click.UsageError("an argument is not UTF-8") from None


def describe(error: KmsServiceError) -> str:
    """The error as an operator sees it, with its cause; API callers see less."""
    message, cause = f"{error} {_reason(error)}".rstrip(), error.__cause__
    if not isinstance(cause, KmsServiceError):
        return message
    # An error that wraps one of its own kind adds nothing.
    return describe(cause) if type(cause) is type(error) else f"{message} {describe(cause)}"


def _reason(error: KmsServiceError) -> str:
    match error:
        case DatabaseUnavailable():
            return error.reason
        case KmsError():
            return f"{error.key}: {error.reason}"
        case _:
            return ""


def exit_code(error: KmsServiceError) -> int:
    """The exit code, by sysexits.h, of a process that this error has stopped."""
    if isinstance(error, StartupError):
        return error.exit_code
    return 1 if isinstance(error, CallerError) else _TEMPORARY_FAILURE
