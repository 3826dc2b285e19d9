"""Write the OpenAPI document of this version, without a database or KMS: `scripts/openapi.py [FILE]`.

For generating clients; a running service answers the same document at `/openapi.json`.
"""

import json
import sys
from pathlib import Path

from kms_service.api.app import create_app
from kms_service.bootstrap import build
from kms_service.settings import Settings


def main() -> None:
    """Write it into the file named, or to standard output."""
    settings = Settings(
        _env_file=None,
        aws_region="eu-west-1",
        aws_access_key_id="none",
        aws_secret_access_key="none",  # noqa: S106 - no call is made
        database_url="postgresql://nobody@127.0.0.1/none",
    )
    document = create_app(build(settings), owns_process=False).openapi()
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(text)
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
