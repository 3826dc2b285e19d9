"""One of several worker processes, as its supervisor starts it."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from kms_service.cli.process.supervisor import leave_reason
from kms_service.cli.root import exit_code
from kms_service.errors import KmsServiceError
from kms_service.lasting import lasting
from kms_service.settings import load_settings
from kms_service.telemetry import logs
from kms_service.telemetry.exposition import FOLDER_VARIABLE

if TYPE_CHECKING:
    from fastapi import FastAPI


def app() -> "FastAPI":
    """The application of this process, which ends when it cannot serve; its supervisor says why."""
    try:
        settings = load_settings()
        logs.configure(settings.log_level, settings.log_format)
        with lasting():
            from kms_service.api.app import serving_app  # noqa: PLC0415 # its import is most of the start

            return serving_app(settings)
    except KmsServiceError as error:
        leave_reason(Path(os.environ[FOLDER_VARIABLE]), exit_code(error), f"kms-service: {error}")
        sys.exit(exit_code(error))
