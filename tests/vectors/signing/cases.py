"""Generates things to sign from a seed, lets ethers, and viem where it can, sign them: writes vectors.json.

    npm install --prefix DIR ethers@6.17.0 viem@2.57.20
    python tests/vectors/signing/cases.py DIR

The draws cover what the two sides could differ in: every atomic type, arrays of every kind, structs within
structs, structs without members, integers as numbers, decimal and hex, addresses in both cases, all Unicode
planes, zero everywhere.
"""

import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SEED = 20251124
COUNTS = {
    "message": 30,
    "typedData": 80,
    "transaction": 100,
    "memberless": 40,
    "authorization": 40,
    "setCode": 60,
}
LONGEST = 2000
MAX_SAFE_INTEGER = 2**53 - 1

draw = random.Random(SEED)


def hexadecimal(data: bytes) -> str:
    return "0x" + data.hex()


def amount(number: int) -> int | str:
    """One of the forms in which JSON can hold this integer."""
    forms: list[int | str] = [str(number)]
    if number >= 0:
        forms.append(hex(number))
    if abs(number) <= MAX_SAFE_INTEGER:
        forms.append(number)
    return draw.choice(forms)


def unsigned_integer(bits: int) -> int:
    return int(
        draw.choice([0, 1, 2**bits - 1, draw.getrandbits(bits), draw.getrandbits(draw.randint(1, bits))])
    )


def signed_integer(bits: int) -> int:
    return int(draw.choice([0, -1, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1, draw.getrandbits(bits - 1)]))


def text() -> str:
    planes = [(0x20, 0x7E), (0xA0, 0x24F), (0x4E00, 0x9FFF), (0x1F300, 0x1F64F), (0, 0x1F)]
    return "".join(chr(draw.randint(*draw.choice(planes))) for _ in range(draw.choice([0, 1, 5, 40])))


def address() -> str:
    return hexadecimal(draw.randbytes(20))


def data(longest: int = 80) -> str:
    return hexadecimal(draw.randbytes(draw.choice([0, 1, 31, 32, 33, longest])))


def atom(type_name: str) -> Any:
    simple: dict[str, Callable[[], Any]] = {
        "bool": lambda: draw.random() < 0.5,
        "address": address,
        "string": text,
        "bytes": data,
    }
    if type_name in simple:
        return simple[type_name]()
    size = int(type_name.lstrip("abcdefghijklmnopqrstuvwxyz"))
    if type_name.startswith("bytes"):
        return hexadecimal(draw.randbytes(size))
    return amount(unsigned_integer(size) if type_name.startswith("uint") else signed_integer(size))


def atomic_type() -> str:
    bits = draw.randrange(8, 257, 8)
    sized = [f"bytes{draw.randint(1, 32)}", f"uint{bits}", f"int{bits}"]
    return draw.choice(["bool", "address", "string", "bytes", *sized, *sized])


def typed_data() -> dict[str, Any]:
    names = [f"{draw.choice(['Order', 'Asset', 'Person', '_x', 'Z$'])}{n}" for n in range(draw.randint(1, 5))]
    types: dict[str, list[dict[str, str]]] = {}
    for index, name in enumerate(names):
        kinds = [atomic_type() for _ in range(draw.randint(1, 4))]
        # Every struct is used by the one before it, so that the first is the primary type.
        kinds += names[index + 1 : index + 2] + draw.sample(
            names[index + 2 :], draw.randint(0, len(names[index + 2 :]))
        )
        draw.shuffle(kinds)
        types[name] = [{"name": f"m{n}", "type": kind + dimensions()} for n, kind in enumerate(kinds)]
    return {
        "domain": domain(),
        "types": dict(draw.sample(list(types.items()), len(types))),
        "primaryType": names[0],
        "message": value(names[0], types),
    }


def memberless() -> dict[str, Any]:
    """Typed data in which some types have no members."""
    body = typed_data()
    emptied = draw.sample(sorted(body["types"]), draw.randint(1, len(body["types"])))
    types = {name: [] if name in emptied else members for name, members in body["types"].items()}
    used = {body["primaryType"]}
    for name in sorted(types, key=lambda name: int(name[-1])):  # what a struct uses comes after it
        used |= {member["type"].partition("[")[0] for member in types[name] if name in used}
    types = {name: members for name, members in types.items() if name in used}
    return {**body, "types": types, "message": value(body["primaryType"], types)}


def dimensions() -> str:
    return draw.choice(["", "", "", "", "[]", "[]", "[2]", "[1][]", "[][3]", "[2][2]"])


def domain() -> dict[str, Any]:
    whole = {
        "salt": hexadecimal(draw.randbytes(32)),
        "chainId": amount(draw.choice([1, 137, 2**53, draw.getrandbits(256)])),
        "name": text(),
        "verifyingContract": address(),
        "version": "1",
    }
    return dict(draw.sample(list(whole.items()), draw.randint(0, len(whole))))


def value(type_name: str, types: dict[str, list[dict[str, str]]]) -> Any:
    if type_name.endswith("]"):
        element, _, length = type_name[:-1].rpartition("[")
        return [value(element, types) for _ in range(int(length) if length else draw.randint(0, 3))]
    if type_name in types:
        return {member["name"]: value(member["type"], types) for member in types[type_name]}
    return atom(type_name)


def transaction() -> dict[str, Any]:
    kind = draw.choice([0, 1, 2])
    fields: dict[str, Any] = {
        "chainId": amount(draw.choice([1, 5, 137, 11155111, 2**53, 2**63 - 37])),
        "nonce": amount(draw.choice([0, 1, 127, 128, 255, 256, unsigned_integer(32)])),
        draw.choice(["gas", "gasLimit"]): amount(draw.choice([21000, unsigned_integer(40)])),
        "value": amount(unsigned_integer(draw.choice([64, 128, 256]))),
        "data": data(200),
    }
    if fields["data"] == "0x" or draw.random() < 0.8:
        fields["to"] = address()
    if kind != 0 and draw.random() < 0.7:
        fields["accessList"] = [access_list_item() for _ in range(draw.randint(0, 3))]
    if kind == 2:
        highest = unsigned_integer(draw.choice([40, 256]))
        fields["maxFeePerGas"] = amount(highest)
        fields["maxPriorityFeePerGas"] = amount(draw.choice([0, highest, highest // 3]))
    else:
        fields["gasPrice"] = amount(unsigned_integer(draw.choice([40, 256])))
    if draw.random() < 0.5 or (kind == 1 and "accessList" not in fields):
        fields["type"] = draw.choice([kind, hex(kind), str(kind)])
    return fields


def access_list_item() -> dict[str, Any]:
    keys = [hexadecimal(draw.randbytes(32)) for _ in range(draw.randint(0, 3))] + ["0x" + "00" * 31 + "01"]
    return {"address": address(), "storageKeys": keys[draw.randint(0, 1) :]}


def authorization() -> dict[str, Any]:
    return {
        "chainId": amount(draw.choice([0, 1, 137, 2**53, 2**64 - 1])),
        "address": address(),
        "nonce": amount(draw.choice([0, 1, 127, 128, 255, 256, 2**53, unsigned_integer(63)])),
    }


def set_code() -> dict[str, Any]:
    highest = unsigned_integer(draw.choice([40, 128]))
    fields: dict[str, Any] = {
        "chainId": amount(draw.choice([1, 137, 11155111, 2**53])),
        "nonce": amount(draw.choice([0, 1, 127, 128, unsigned_integer(32)])),
        draw.choice(["gas", "gasLimit"]): amount(draw.choice([21000, unsigned_integer(40)])),
        "to": address(),
        "value": amount(unsigned_integer(draw.choice([64, 128]))),
        "data": data(200),
        "maxFeePerGas": amount(highest),
        "maxPriorityFeePerGas": amount(draw.choice([0, highest, highest // 3])),
        "authorizationList": [signed_authorization() for _ in range(draw.randint(1, 3))],
    }
    if draw.random() < 0.5:
        fields["accessList"] = [access_list_item() for _ in range(draw.randint(0, 3))]
    if draw.random() < 0.5:
        fields["type"] = draw.choice([4, "0x4", "4"])
    return fields


def signed_authorization() -> dict[str, Any]:
    """An authorisation with a made-up signature; now and then with a short r, whose zeros encoders drop."""
    r = draw.choice([draw.getrandbits(255), draw.getrandbits(240)])
    signature = {
        "yParity": amount(draw.getrandbits(1)),
        "r": f"0x{r:064x}",
        "s": f"0x{draw.getrandbits(254):064x}",
    }
    return {**authorization(), **signature}


def message() -> dict[str, Any]:
    return {"message": text()} if draw.random() < 0.5 else {"messageHex": data(300)}


def cases() -> list[dict[str, Any]]:
    keys = [hexadecimal(draw.randbytes(32)) for _ in range(6)]
    makers = {
        "message": message,
        "typedData": typed_data,
        "transaction": transaction,
        "memberless": memberless,
        "authorization": authorization,
        "setCode": set_code,
    }
    return [
        {"kind": kind, "privateKey": draw.choice(keys), "body": short(makers[kind])}
        for kind, count in COUNTS.items()
        for _ in range(count)
    ]


def short(make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """A choice that does not bloat the file."""
    while True:
        body = make()
        if len(json.dumps(body)) <= LONGEST:
            return body


def main() -> None:
    asked = cases()
    script = Path(sys.argv[1]) / "signers.mjs"
    script.write_text((HERE / "signers.mjs").read_text())  # beside node_modules, where node looks
    lines = "\n".join(json.dumps(case) for case in asked)
    node = subprocess.run(["node", script], input=lines, capture_output=True, text=True, check=True)  # noqa: S603, S607 # the generator is run by hand, with the node on the path
    answers = [json.loads(line) for line in node.stdout.splitlines()]
    vectors = [{**case, "expected": answer} for case, answer in zip(asked, answers, strict=True)]
    body = ",\n".join(json.dumps(vector, separators=(",", ":")) for vector in vectors)
    (HERE / "vectors.json").write_text(
        f'{{"signer":"ethers 6.17.0, viem 2.57.20","seed":{SEED},"vectors":[\n{body}\n]}}\n'
    )


if __name__ == "__main__":
    main()
