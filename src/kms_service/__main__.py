"""`python -m kms_service` is the console script."""

from kms_service.cli import main

main()
