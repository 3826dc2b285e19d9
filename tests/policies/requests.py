"""Requests of callers, as the routes read them, for policies to judge."""

import base64
import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from calling import Service
from kms_service.api.wallets.signing import Message, TypedDataBody
from kms_service.api.wallets.transaction import TransactionBody
from kms_service.ethereum import json_values, transactions
from kms_service.service.policies.judging import Judgement, Policy, judge
from kms_service.service.policies.language.document import parse
from kms_service.service.policies.operations import (
    AuthorizationSigning,
    KeyRelease,
    MessageSigning,
    Operation,
    TransactionSigning,
    TypedDataSigning,
)

SHIPPED = Path(__file__).parents[2] / "deploy" / "policies"
MERCHANT, STRANGER = "0x" + "11" * 20, "0x" + "66" * 20
USDC = "0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48"
GWEI, ETHER = 10**9, 10**18

ROUTES = {
    "sign.message": "sign/message",
    "sign.typed-data": "sign/typed-data",
    "sign.transaction": "sign/transaction",
    "sign.authorization": "sign/authorization",
    "private_key.export": "private-key/export",
}
RECIPIENT = base64.b64encode(X25519PrivateKey.generate().public_key().public_bytes_raw()).decode()


def operation_of(action: str, body: Any) -> Operation:
    """The operation that a request's body of this action means."""
    match action:
        case "sign.message":
            return MessageSigning(Message.model_validate(body).octets())
        case "sign.typed-data":
            return TypedDataSigning(TypedDataBody.model_validate(body).read())
        case "sign.transaction":
            given = TransactionBody.model_validate(body["transaction"])
            return TransactionSigning(transactions.read(given.fields()))
        case "sign.authorization":
            return AuthorizationSigning(
                json_values.unsigned_integer(body["chainId"]), json_values.address(body["address"])
            )
        case "private_key.read" | "private_key.export":
            return KeyRelease(action)
    raise AssertionError(action)


def transaction(**fields: Any) -> dict[str, Any]:
    """The body of a plain payment to the merchant, changed by `fields`; None leaves a field out."""
    whole = {
        "chainId": 1,
        "nonce": 0,
        "to": MERCHANT,
        "value": str(ETHER // 10),
        "gas": 21000,
        "maxFeePerGas": 20 * GWEI,
        "maxPriorityFeePerGas": GWEI,
        **fields,
    }
    texts = {name: str(value) if isinstance(value, int) else value for name, value in whole.items()}
    return {"transaction": {name: value for name, value in texts.items() if value is not None}}


def policy(*rules: Any) -> Policy:
    """A policy of these rules, as from its document."""
    return Policy("under-test", 3, parse(json.dumps({"rules": rules}).encode()))


def judge_request(by: Policy, action: str, body: Any, user_id: str = "shop-1") -> Judgement:
    """What a policy says of a request."""
    return judge(by, user_id, "a-token", operation_of(action, body))


def is_allowed(by: Policy, action: str, body: Any, user_id: str = "shop-1") -> bool:
    """Whether some rule's criteria all hold."""
    return bool(judge_request(by, action, body, user_id).matches)


def ask(service: Service, token: str, user: str, action: str, body: Any) -> Any:
    """The answer to a request of this action."""
    if action == "private_key.read":
        return service.call("GET", f"/wallets/{user}/private-key", token=token)
    body = {"recipientPublicKey": RECIPIENT} if action == "private_key.export" else body
    return service.call("POST", f"/wallets/{user}/{ROUTES[action]}", token=token, json=body)
