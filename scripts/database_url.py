"""Print the URL of the database, for `psql "$(scripts/get-db-url.sh)"` and the like."""

import argparse
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from dotenv import dotenv_values

PROJECT = Path(__file__).resolve().parent.parent
REQUIRED = ("DB_HOST", "DB_NAME", "DB_USER", "DB_PASSWORD")
# The members of a secret as RDS writes and rotates it:
# https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_secret_json_structure.html
MEMBERS = {
    "DB_HOST": "host",
    "DB_PORT": "port",
    "DB_NAME": "dbname",
    "DB_USER": "username",
    "DB_PASSWORD": "password",
}
DESCRIPTION = """\
Prints the URL of the database, from the first of these that is set, in the environment or in .env:

  DATABASE_URL                                        as it is
  DB_HOST DB_PORT (5432) DB_NAME DB_USER DB_PASSWORD  each percent-encoded
  DB_SECRET_ID                                        an AWS Secrets Manager secret as RDS writes it;
                                                      DB_* variables come before its members

The URL holds the password: mind where it goes."""


class UrlError(Exception):
    """No URL can be built; the message says why, in one line and without any value."""


def database_url(variables: Mapping[str, str]) -> str:
    """The URL, with the password in it.

    Raises:
        UrlError: something is missing, or the secret cannot be read.
    """
    if variables.get("DATABASE_URL"):
        return variables["DATABASE_URL"]
    parts = {name: variables[name] for name in MEMBERS if variables.get(name)}
    if missing(parts) and variables.get("DB_SECRET_ID"):
        parts = {**secret_parts(variables["DB_SECRET_ID"], variables), **parts}
    if missing(parts):
        raise UrlError(f"{', '.join(missing(parts))} not set: set DATABASE_URL, these, or DB_SECRET_ID")
    return assemble(parts)


def missing(parts: Mapping[str, str]) -> list[str]:
    """The names of what a URL needs and `parts` lacks."""
    return [name for name in REQUIRED if name not in parts]


def assemble(parts: Mapping[str, str]) -> str:
    """Build the URL from `parts`; a host may be a name, an IPv4 or IPv6 address, or a socket's folder.

    Raises:
        UrlError: DB_PORT is not a number.
    """
    user, password, name = (quote(parts[part], safe="") for part in ("DB_USER", "DB_PASSWORD", "DB_NAME"))
    host = parts["DB_HOST"]
    host = f"[{host}]" if ":" in host else quote(host, safe="")
    port = parts.get("DB_PORT", "5432")
    if not port.isascii() or not port.isdigit():
        raise UrlError("DB_PORT is not a number")
    return f"postgresql://{user}:{password}@{host}:{port}/{name}"


def secret_parts(secret_id: str, variables: Mapping[str, str]) -> dict[str, str]:
    """The values in a secret, by the names of the variables that they replace.

    Raises:
        UrlError: the secret cannot be read.
    """
    secret = read_secret(secret_id, variables.get("AWS_REGION"))
    return {name: str(secret[member]) for name, member in MEMBERS.items() if secret.get(member)}


def read_secret(secret_id: str, region: str | None) -> dict[str, Any]:
    """The members of a secret in AWS Secrets Manager.

    Raises:
        UrlError: it cannot be read, or is not a JSON object.
    """
    # These imports are most of the script's time, and only a secret needs them.
    import boto3  # noqa: PLC0415
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    try:
        client = boto3.client("secretsmanager", region_name=region)
        text = client.get_secret_value(SecretId=secret_id).get("SecretString", "")
    except ClientError as error:
        raise UrlError(f"secret {secret_id}: {error.response['Error']['Code']}") from None
    except BotoCoreError as error:
        raise UrlError(f"secret {secret_id}: {error}") from None
    try:
        secret = json.loads(text)
    except ValueError:
        secret = None
    if not isinstance(secret, dict):
        raise UrlError(f"secret {secret_id} is not a JSON object as RDS writes it")
    return secret


def main() -> None:
    """Print the URL, or one line on standard error and exit 78 (EX_CONFIG)."""
    argparse.ArgumentParser(
        prog="get-db-url.sh", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    from_file = {name: value for name, value in dotenv_values(PROJECT / ".env").items() if value}
    # boto3 reads only the environment, and AWS_* may be in .env
    os.environ.update({name: value for name, value in from_file.items() if name not in os.environ})
    try:
        print(database_url(os.environ))
    except UrlError as error:
        print(f"get-db-url.sh: {error}", file=sys.stderr)
        sys.exit(78)


if __name__ == "__main__":
    main()
