"""Writes deploy/policies/policy.schema.json, the JSON Schema of a policy's document, from the code."""

import json
from pathlib import Path

from kms_service.service.policies.language.document import json_schema

PUBLISHED = Path(__file__).parents[1] / "deploy" / "policies" / "policy.schema.json"

if __name__ == "__main__":
    PUBLISHED.write_text(json.dumps(json_schema(), indent=2) + "\n")
