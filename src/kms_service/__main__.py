"""`python -m kms_service` runs the console script."""

from kms_service.cli import main

main()
