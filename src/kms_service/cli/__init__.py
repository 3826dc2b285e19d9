"""The `kms-service` command."""


def main() -> None:
    """Run the command line and exit."""
    # Imported here, so that the workers' supervisor, a module of this package, imports only what it needs.
    from kms_service.cli.root import main as run  # noqa: PLC0415

    run()
