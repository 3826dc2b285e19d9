"""The `kms-service` command."""


def main() -> None:
    """Run the command line and exit."""
    # Here, so that the supervisor of workers, which lives below, imports nothing that it does not need.
    from kms_service.cli.root import main as run  # noqa: PLC0415

    run()
