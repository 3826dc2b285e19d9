"""A process with credentials in its settings loads neither botocore nor boto3: 11 MB less per worker."""

import subprocess
import sys

_PROGRAM = """
import asyncio, sys
from pydantic import SecretStr
from kms_service.kms.regions.routes import connect_regions
from kms_service.crypto.material import WrappedDek
from kms_service.errors import KmsUnavailable
from kms_service.kms.aws import AwsKmsService
from kms_service.kms.control_plane.administration import KeyAdministration
from kms_service.kms.control_plane.client import ControlPlane
from kms_service.kms.keys.health import KeyHealth
from kms_service.kms.pool import KmsKeyPool
from kms_service.settings import Settings

async def serve():
    settings = Settings(
        _env_file=None, aws_region="eu-central-1", aws_access_key_id="id",
        aws_secret_access_key="secret", aws_endpoint_url_kms="http://127.0.0.1:1",
        database_url="postgresql://localhost/none",
    )
    KeyAdministration(ControlPlane(settings))
    health = KeyHealth(4)
    kms = AwsKmsService(connect_regions(settings), health)
    await KmsKeyPool(kms, settings.aliases, health).refresh()
    arn = "arn:aws:kms:eu-central-1:111122223333:key/a"
    try:
        await kms.decrypt(WrappedDek(arn, "eu-central-1", b"blob"), {"purpose": "wallet-dek"})
    except KmsUnavailable as error:
        print(error.reason)
    await kms.close()

asyncio.run(serve())
print(sorted({name.partition(".")[0] for name in sys.modules} & {"botocore", "boto3", "urllib3"}))
"""


def test_serving_loads_no_botocore() -> None:
    done = subprocess.run(  # noqa: S603 # our own program
        [sys.executable, "-c", _PROGRAM],
        env={"PYTHONPATH": ":".join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.splitlines()[-2:] == ["EndpointConnectionError", "[]"]
