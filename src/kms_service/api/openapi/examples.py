"""Example requests and answers by operation, all about one wallet whose phrase is a public test vector.

The tests send every request and compare every answer with the real one; this key made the signatures.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# From the phrase "abandon … about" (BIP-39's vectors): never keep anything under it.
ADDRESS = "0x9858EfFD232B4033E47d90003D41EC34EcaEda94"
PRIVATE_KEY = "0x1ab42cc412b618bdea3a599e3c9bae199ebf030895b039e9db1e30dafb12b727"
PUBLIC_KEY = "0x0237b0bb7a8288d38ed49a524b5dc98cff3eb5ca824c9f9dc0dfdb3d9cd600f299"
ALIAS = "Empressa-wallet-key-1"
KEY = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
OTHER_KEY = "arn:aws:kms:eu-west-1:111122223333:key/0987dcba-09fe-87dc-65ba-ab0987654321"
AT = "2026-11-26T09:30:00Z"
_LATER = "2026-11-26T09:32:10Z"
_ROTATION = "6f1c1f5e-3f0b-4c1a-9a52-0c8a7f2b9d11"
_FRIEND = "0x3535353535353535353535353535353535353535"


@dataclass(frozen=True, slots=True)
class Example:
    """A request (its body and parameters) and its answers by status."""

    answers: Mapping[int, Any]
    request: Any = None
    parameters: Mapping[str, Any] = field(default_factory=dict)


_WALLET = {
    "userId": "alice",
    "walletAddress": ADDRESS,
    "compressedPublicKey": PUBLIC_KEY,
    "kmsKeyId": KEY,
    "kmsRegion": "eu-west-1",
    "createdAt": AT,
}
_ALICE = {"userId": "alice"}
_RELEASED = {"userId": "alice", "walletAddress": ADDRESS, "privateKey": PRIVATE_KEY}
_IMPORT = "0b1f6a0e-7c0d-4a83-9a0c-5d5f0e6b2a77"
_MATERIAL = {"keyMaterialId": "0f1e2d3c4b5a", "currentSince": None, "wallets": 1200}
_POOL_KEY = {
    "keyId": KEY,
    "alias": f"alias/{ALIAS}",
    "region": "eu-west-1",
    "status": "Active",
    "reason": "",
    "mode": "active",
    "circuit": "closed",
    "creationDate": "2026-01-02T03:04:05Z",
    "lastUsedDate": AT,
    "wallets": 1200,
    "shareOfWallets": 0.1,
    "walletsBeforeRotation": 0,
    "materials": [_MATERIAL],
    "rotation": {"enabled": True, "periodInDays": 90, "nextRotationDate": "2027-01-01T00:00:00Z"},
    "movedFrom": None,
}
_POOL = {
    "keys": [_POOL_KEY],
    "currentActiveKeys": [KEY],
    "rotationSchedule": {"automatic": True, "periodInDays": 90, "enabled": True, "intervalMonths": 3},
    "otherKeys": [],
    "regions": [
        {"region": "eu-central-1", "role": "primary", "circuit": "closed", "reason": "", "awaySince": None}
    ],
}
_JOB = {
    "rotationId": _ROTATION,
    "status": "running",
    "dryRun": False,
    "from": [KEY],
    "wrappedBefore": None,
    "to": [OTHER_KEY],
    "ratePerSecond": 200.0,
    "total": 1200,
    "done": 700,
    "failed": 1,
    "skipped": 0,
    "walletsPerSecond": 198.5,
    "etaSeconds": 3,
    "kmsCalls": 701,
    "kmsCostUsd": 0.002103,
    "lastError": None,
    "createdBy": "night-shift",
    "createdAt": AT,
    "startedAt": AT,
    "finishedAt": None,
}
_FAILURE = {
    "userId": "bob",
    "code": "integrity_failure",
    "reason": "the DEK does not open",
    "kmsKeyId": KEY,
    "at": _LATER,
}
_OPEN = {"sealed": False, "reason": None, "actor": "night-shift", "changedAt": _LATER}
_SEALED = {"sealed": True, "reason": "a token may have leaked", "actor": "night-shift", "changedAt": AT}
_EVENT = {
    "id": 4711,
    "at": AT,
    "actor": "checkout",
    "action": "sign.transaction",
    "outcome": "ok",
    "userId": "alice",
    "walletAddress": ADDRESS,
    "requestId": "0c6c7a1e5d0f4a5e9d7c1f7a3b2e4d61",
    "kmsKeyId": KEY,
    "kmsRequestId": "11111111-2222-3333-4444-555555555555",
    "detail": "0x021455775b20119f00ba8192deee574f0c98128de0402a88cfe6df435d966e72",
}
_CHECKS = {"database": "ok", "kms": "ok", "migrations": "ok", "releases": "ok"}
_READY = {"status": "ok", "checks": _CHECKS}
_NOT_READY = {"status": "unavailable", "checks": {**_CHECKS, "kms": "no usable key"}}

_DELEGATE = "0x4444444444444444444444444444444444444444"
_LOGIN = {
    "id": "login",
    "action": "sign.message",
    "wallets": {"prefixes": ["shop-"]},
    "prefixes": ["Sign in to shop.example"],
    "maxBytes": 500,
    "windows": [{"per": "hour", "of": "wallet", "count": 20}],
}
_POLICY = {"name": "checkout", "version": 1, "setBy": "cli:anna", "setAt": AT}
_NAMED = {"name": "checkout"}
_WINDOW = {
    "rule": "login",
    "measure": "count",
    "per": "hour",
    "of": "wallet",
    "subject": "shop-7",
    "chainId": None,
    "contract": None,
    "used": "3",
    "max": "20",
}

_WALLETS: Mapping[str, Example] = {
    "createWallet": Example({201: _WALLET}, {"userId": "alice"}),
    "putWallet": Example({200: _WALLET, 201: _WALLET}, parameters=_ALICE),
    "getWallet": Example({200: _WALLET}, parameters=_ALICE),
    "listWallets": Example({200: {"wallets": [_WALLET], "nextCursor": "YWxpY2U"}}, parameters={"limit": 1}),
    "createWallets": Example(
        {200: {"results": [{"userId": "alice", "status": 200, "wallet": _WALLET}]}}, {"userIds": ["alice"]}
    ),
    "getPrivateKey": Example({200: _RELEASED}, parameters=_ALICE),
    "getPrivateKeyOfUser": Example({200: _RELEASED}, parameters=_ALICE),
    "getVerifierPrivateKey": Example({200: _RELEASED}),
    "beginImport": Example(
        {
            201: {
                "importId": _IMPORT,
                "recipientPublicKey": "B6N8vBQgk8i3VdwbEOhstCY3StFqqFPtC9/AsrhtHHw=",
                "expiresAt": "2026-11-26T09:45:00Z",
            }
        }
    ),
    "completeImport": Example(
        {201: _WALLET},
        {
            "importId": _IMPORT,
            "encapsulatedKey": "SNqcm2RXTKD0qJJd4wPi5PQuRQQBZWfqZYdizxWehg0=",
            "ciphertext": "kHEksCneDQfoA53XjpzpRkbbZKgR4wGPj826n2rlPE5sXKzpJcyTcCmRP+FHWk8X",
        },
        _ALICE,
    ),
    "exportPrivateKey": Example(
        {
            200: {
                "walletAddress": ADDRESS,
                "encapsulatedKey": "SNqcm2RXTKD0qJJd4wPi5PQuRQQBZWfqZYdizxWehg0=",
                "ciphertext": "kHEksCneDQfoA53XjpzpRkbbZKgR4wGPj826n2rlPE5sXKzpJcyTcCmRP+FHWk8X",
            }
        },
        {"recipientPublicKey": "B6N8vBQgk8i3VdwbEOhstCY3StFqqFPtC9/AsrhtHHw="},
        _ALICE,
    ),
}
_SIGNING: Mapping[str, Example] = {
    "signMessage": Example(
        {
            200: {
                "walletAddress": ADDRESS,
                "signature": "0xb736f445324c33d4120c799a2f1848bd6afc6cd0633a8c1075d4c7aeee895e3a"
                "754f8742f4ff5e6a68f8fb7c68002ab989df92e05556bf222c8410a7a70650e81b",
                "messageHash": "0x5e29d3bbb721c914ceb5d838f544d03f2a01d36a5a03dd157a4b49820a599af7",
            }
        },
        {"message": "Sign in to shop"},
        _ALICE,
    ),
    "signTypedData": Example(
        {
            200: {
                "walletAddress": ADDRESS,
                "signature": "0x91300a61ee08b3464959fa2f88fd8f138d73f07576d95ce2ec78c46741c51244"
                "5511e9e74f4b5ac84622991a949a030ce6ad228d711973dea66f82ff3ad1c9171b",
                "messageHash": "0x450a418aa138589f4fbddb1f588aa90ee177fa4ec8828e02376f9b08bade11d5",
            }
        },
        {
            "domain": {"name": "Shop", "version": "1", "chainId": 1},
            "types": {"Order": [{"name": "id", "type": "uint256"}, {"name": "price", "type": "uint256"}]},
            "primaryType": "Order",
            "message": {"id": 1, "price": "1000000"},
        },
        _ALICE,
    ),
    "signTransaction": Example(
        {
            200: {
                "walletAddress": ADDRESS,
                "rawTransaction": "0x02f8720180843b9aca0084773594008252089435353535353535353535353535353535"
                "35353535880de0b6b3a764000080c080a0517fe475857c7b5f625d82626302e237845e4a976d19cdaa667f48fb"
                "7ba9a841a0099228193a292d6699cc5a5e96de472c3c61a8b747025aaa2488af2500f369b0",
                "transactionHash": "0x021455775b20119f00ba8192deee574f0c98128de0402a88cfe6df435d966e72",
            }
        },
        {
            "transaction": {
                "chainId": 1,
                "nonce": 0,
                "gas": 21000,
                "maxFeePerGas": "2000000000",
                "maxPriorityFeePerGas": "1000000000",
                "to": _FRIEND,
                "value": "1000000000000000000",
            }
        },
        _ALICE,
    ),
}
_JOB_ID = {"id": _ROTATION}
_POLICIES: Mapping[str, Example] = {
    "signAuthorization": Example(
        {
            200: {
                "walletAddress": ADDRESS,
                "authorization": {
                    "chainId": 1,
                    "address": _DELEGATE,
                    "nonce": 7,
                    "yParity": 1,
                    "r": "0x88a8574c9bf50a27ce98a896e9fbb4d5d44f3e4ebeab0bf13b575d8596e13efa",
                    "s": "0x14c5a03185875cd6b989fa7b37ab8d2d0343abfd6f039174513b16079e5d868c",
                },
                "authorizationHash": "0x38cdc4da72e66c02eec8e42fa3605778dc8eb83146c8c4784abca0a2d411f3aa",
            }
        },
        {"chainId": 1, "address": _DELEGATE, "nonce": 7},
        _ALICE,
    ),
    "listPolicies": Example({200: {"policies": [_POLICY]}}),
    "getPolicy": Example({200: {**_POLICY, "document": {"rules": [_LOGIN]}}}, parameters=_NAMED),
    "getUsage": Example({200: {"windows": [_WINDOW], "nextCursor": None}}, parameters=_NAMED),
}
_OPERATIONS: Mapping[str, Example] = {
    "listEvents": Example({200: {"events": [_EVENT], "nextCursor": None}}, parameters=_ALICE),
    "getSeal": Example({200: _OPEN}),
    "closeSeal": Example({200: _SEALED}, {"reason": "a token may have leaked"}),
    "openSeal": Example({200: _OPEN}),
    "getPool": Example({200: _POOL}),
    "getStatus": Example({200: _POOL}),
    "refreshPool": Example({200: _POOL}),
    "putKey": Example(
        {200: {**_POOL_KEY, "mode": "draining"}}, {"mode": "draining"}, parameters={"alias": ALIAS}
    ),
    "startRotation": Example(
        {202: {**_JOB, "status": "pending", "done": 0, "failed": 0, "kmsCalls": 0, "startedAt": None}},
        {"from": [f"alias/{ALIAS}"], "dryRun": False, "ratePerSecond": 200},
    ),
    "listRotations": Example({200: {"rotations": [_JOB]}}),
    "getRotation": Example({200: {**_JOB, "failures": [_FAILURE]}}, parameters=_JOB_ID),
    "listFailures": Example({200: {"failures": [_FAILURE], "nextCursor": None}}, parameters=_JOB_ID),
    "pauseRotation": Example({200: {**_JOB, "status": "paused"}}, parameters=_JOB_ID),
    "resumeRotation": Example({200: _JOB}, parameters=_JOB_ID),
    "cancelRotation": Example(
        {200: {**_JOB, "status": "cancelled", "finishedAt": _LATER}}, parameters=_JOB_ID
    ),
    "livez": Example({200: {"status": "ok"}}),
    "readyz": Example({200: _READY, 503: _NOT_READY}),
    "health": Example({200: _READY, 503: _NOT_READY}),
}
EXAMPLES: Mapping[str, Example] = {**_WALLETS, **_SIGNING, **_POLICIES, **_OPERATIONS}
