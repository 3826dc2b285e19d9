"""Functions in human-readable ABI, and the canonical encoding of their calls."""

import time

import eth_abi
import pytest

from kms_service.ethereum.abi import CallMismatch, parse_function

TRANSFER = parse_function("transfer(address to, uint256 amount)")
TO = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
ARGUMENTS = eth_abi.encode(["address", "uint256"], [TO, 5])


def word(number: int) -> bytes:
    return number.to_bytes(32)


@pytest.mark.parametrize(
    ("text", "signature", "selector"),
    [  # selectors as 4byte.directory lists them
        ("transfer(address to, uint256 amount)", "transfer(address,uint256)", "a9059cbb"),
        ("function approve(address spender, uint amount)", "approve(address,uint256)", "095ea7b3"),
        (
            "transferFrom(address from, address to, uint256 amount)",
            "transferFrom(address,address,uint256)",
            "23b872dd",
        ),
        ("multicall(bytes[] calldata data)", "multicall(bytes[])", "ac9650d8"),
        (
            "exactInput((bytes path, address recipient, uint d, uint256 amountIn, uint256 least) params)",
            "exactInput((bytes,address,uint256,uint256,uint256))",
            "c04b8d59",
        ),
        ("pause()", "pause()", "8456cb59"),
        ("f(tuple(bytes b, (int8 a)[2] c)[] d)", "f((bytes,(int8)[2])[])", None),
    ],
)
def test_a_function_has_its_selector(text: str, signature: str, selector: str | None) -> None:
    function = parse_function(text)
    assert function.signature == signature
    assert selector is None or function.selector.hex() == selector


@pytest.mark.parametrize(
    "text",
    [
        "", "f", "f(", "f)", "f(uint256)", "f(uint256 a,)", "f(uint256 a, uint256 a)", "f(uint256 a b)",
        "f(uint7 a)", "f(fixed a)", "f(function a)", "f(Token a)", "f(tuple a)", "f(uint256[0] a)",
        "f(uint256[][] a)", "f((uint256[] a)[] b)", "f(uint256[33] a)", "f((uint256 a)b)",
        "f(uint256 a) returns (bool)", "f(uint256 a) payable", "g f(uint256 a)", "f(uint256 a);",
        "f((uint256 a)) b)",
        "f(" + "a" * 2000 + ")", "é(uint256 a)",
    ],
)  # fmt: skip
def test_anything_but_a_function_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"must|has|parameter|parentheses|arrays"):
        parse_function(text)


def test_arguments_are_returned_by_name() -> None:
    assert TRANSFER.arguments(TRANSFER.selector + ARGUMENTS) == {"to": TO, "amount": 5}
    function = parse_function("f((address a, string[] s) t, bool[2] b, bytes4 x, int256 i)")
    types = ["(address,string[])", "bool[2]", "bytes4", "int256"]
    data = function.selector + eth_abi.encode(types, [(TO, ["é", ""]), [True, False], b"abcd", -1])
    assert function.arguments(data) == {
        "t": {"a": TO, "s": ["é", ""]},
        "b": [True, False],
        "x": b"abcd",
        "i": -1,
    }


@pytest.mark.parametrize(
    "data",
    [
        b"",
        TRANSFER.selector,
        TRANSFER.selector[:3],
        parse_function("approve(address s, uint256 a)").selector + ARGUMENTS,
        TRANSFER.selector + ARGUMENTS[:-1],
        TRANSFER.selector + ARGUMENTS + b"\x00",
        TRANSFER.selector + ARGUMENTS + bytes(32),
        TRANSFER.selector + b"\x01" + ARGUMENTS[1:],
    ],
    ids=["empty", "bare", "short", "other", "cut", "longer", "padded", "dirty"],
)
def test_anything_but_the_canonical_encoding_is_refused(data: bytes) -> None:
    with pytest.raises(CallMismatch):
        TRANSFER.arguments(data)


def test_an_argument_at_an_unusual_offset_is_refused() -> None:
    function = parse_function("f(bytes data)")
    usual = function.selector + eth_abi.encode(["bytes"], [b"ab"])
    moved = function.selector + word(64) + word(0) + word(2) + b"ab" + bytes(30)
    assert eth_abi.decode(["bytes"], moved[4:]) == (b"ab",)  # the chain would take it
    assert function.arguments(usual) == {"data": b"ab"}
    with pytest.raises(CallMismatch):
        function.arguments(moved)


def test_a_string_that_is_not_utf_8_is_refused() -> None:
    function = parse_function("f(string s)")
    with pytest.raises(CallMismatch):
        function.arguments(function.selector + word(32) + word(2) + b"\xff\xfe" + bytes(30))


@pytest.mark.parametrize("pointer", [2**256 - 1, 2**255, 2**63, 2**63 - 1, 2**31])
def test_an_offset_out_of_range_is_refused(pointer: int) -> None:
    function = parse_function("f(string[] s)")
    with pytest.raises(CallMismatch):
        function.arguments(function.selector + word(32) + word(1) + word(pointer) + bytes(64))


@pytest.mark.parametrize(
    "text",
    ["m((address t, bytes d)[] c)", "m(bytes[] c)", "m((uint256[16] a, bytes b)[] c)"],
)
def test_many_offsets_to_the_same_bytes_cost_no_time(text: str) -> None:
    function = parse_function(text)
    heads = 480
    tail = word(1) + word(0x40) + word(12_000) + bytes(12_000) + bytes(1024)
    bomb = word(32) + word(heads) + word(heads * 32) * heads + tail
    started = time.process_time()
    with pytest.raises(CallMismatch):
        function.arguments(function.selector + bomb)
    assert time.process_time() - started < 0.5
