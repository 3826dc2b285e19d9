"""moto's server, with the keys of a CloudFormation stack as AWS makes them.

moto 5.2 keeps a stack's key policy as an object where it later needs text, and reads the tags by the names
that KMS's own API gives them; either ends in a 500. It also makes an RSA key for each symmetric one, which
nobody asks for, in a tenth of a second.
"""

import json
import sys
from typing import Any

from moto.kms import models
from moto.kms.models import Key
from moto.kms.utils import generate_private_key
from moto.server import main

_create = Key.create_from_cloudformation_json.__func__  # type: ignore[attr-defined]


def _create_key(
    cls: type[Key], resource_name: str, cloudformation_json: dict[str, Any], *arguments: Any, **named: Any
) -> Key:
    properties = dict(cloudformation_json["Properties"])
    properties["KeyPolicy"] = json.dumps(properties["KeyPolicy"])
    properties["Tags"] = [
        {"TagKey": tag["Key"], "TagValue": tag["Value"]} for tag in properties.get("Tags", [])
    ]
    stack = {**cloudformation_json, "Properties": properties}
    key: Key = _create(cls, resource_name, stack, *arguments, **named)
    return key


def _generate(spec: str) -> Any:
    return generate_private_key("ECC_NIST_P256" if spec == "SYMMETRIC_DEFAULT" else spec)


if __name__ == "__main__":
    models.generate_private_key = _generate  # type: ignore[attr-defined,assignment]
    Key.create_from_cloudformation_json = classmethod(_create_key)  # type: ignore[assignment]
    main(sys.argv[1:])
