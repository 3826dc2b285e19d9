"""What a user of web3.py does, in a project of its own: `web3_session.py SERVICE TOKEN CHAIN CONTRACT`.

Runs where nothing but the built client and web3.py is installed; asserts what it sees.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from eth_account import Account
from eth_account.messages import encode_defunct
from web3 import AsyncHTTPProvider, AsyncWeb3, HTTPProvider, Web3
from web3.middleware import SignAndSendRawMiddlewareBuilder

from kms_service_client import KmsServiceClient, RemoteAccount

FRIEND = Web3.to_checksum_address("0x" + "37" * 20)


def main() -> None:
    """Send everything a caller sends, and have a contract check what was signed."""
    service, token, chain, contract = sys.argv[1:]
    w3 = Web3(HTTPProvider(chain))
    with KmsServiceClient(service, token) as client:
        client.ensure_wallet("web3-alice")
        account = RemoteAccount(client, "web3-alice")
        w3.provider.make_request("anvil_setBalance", [account.address, hex(10**19)])
        w3.middleware_onion.inject(SignAndSendRawMiddlewareBuilder.build(account), layer=0)
        erc20 = _deploy(w3, account, json.loads(Path(contract).read_text()))
        _transfer(w3, account, erc20)
        _send_ether(w3, account)
        _permit(w3, account, erc20)
        asyncio.run(_send_asynchronously(chain, account))
        exported = client.export_private_key("web3-alice")
    assert Account.from_key(exported.private_key).address == account.address
    print("all went through")  # noqa: T201 - what the test waits for


def _deploy(w3: Web3, account: RemoteAccount, contract: dict[str, Any]) -> Any:
    factory = w3.eth.contract(abi=contract["abi"], bytecode=contract["bytecode"])
    receipt = _wait_until_mined(w3, factory.constructor(10**6).transact({"from": account.address}))
    return w3.eth.contract(receipt["contractAddress"], abi=contract["abi"])


def _transfer(w3: Web3, account: RemoteAccount, erc20: Any) -> None:
    receipt = _wait_until_mined(
        w3, erc20.functions.transfer(FRIEND, 1234).transact({"from": account.address})
    )
    assert receipt["from"] == account.address
    assert erc20.functions.balanceOf(FRIEND).call() == 1234


def _send_ether(w3: Web3, account: RemoteAccount) -> None:
    for fees in ({}, {"gasPrice": w3.eth.gas_price}):
        _wait_until_mined(
            w3, w3.eth.send_transaction({"from": account.address, "to": FRIEND, "value": 5, **fees})
        )
    assert w3.eth.get_balance(FRIEND) == 10
    signed = account.sign_message(encode_defunct(text="hello"))
    assert (
        Account.recover_message(encode_defunct(text="hello"), signature=signed.signature) == account.address
    )


def _permit(w3: Web3, account: RemoteAccount, erc20: Any) -> None:
    domain = {"name": "Token", "version": "1", "chainId": w3.eth.chain_id, "verifyingContract": erc20.address}
    members = ("owner address", "spender address", "value uint256", "nonce uint256", "deadline uint256")
    types = {"Permit": [dict(zip(("name", "type"), member.split(), strict=True)) for member in members]}
    owner, value, deadline = account.address, 2**200, 2**60
    message = {"owner": owner, "spender": FRIEND, "value": value, "nonce": 0, "deadline": deadline}
    signed = account.sign_typed_data(domain, types, message)
    r, s = (number.to_bytes(32) for number in (signed.r, signed.s))
    permit = erc20.functions.permit(owner, FRIEND, value, deadline, signed.v, r, s)
    _wait_until_mined(w3, permit.transact({"from": owner}))
    assert erc20.functions.allowance(owner, FRIEND).call() == value


async def _send_asynchronously(chain: str, account: RemoteAccount) -> None:
    w3 = AsyncWeb3(AsyncHTTPProvider(chain))
    w3.middleware_onion.inject(SignAndSendRawMiddlewareBuilder.build(account), layer=0)
    sent = await w3.eth.send_transaction({"from": account.address, "to": FRIEND, "value": 1})
    receipt = await w3.eth.wait_for_transaction_receipt(sent)
    assert receipt["status"] == 1
    await w3.provider.disconnect()


def _wait_until_mined(w3: Web3, sent: bytes) -> Any:
    receipt = w3.eth.wait_for_transaction_receipt(sent)
    assert receipt["status"] == 1
    return receipt


if __name__ == "__main__":
    main()
