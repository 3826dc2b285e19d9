"""The code in docs/signing.md runs as it is printed."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from calling import Service
from chain import PYTHON, ROOT, TYPESCRIPT, local_chain, npm_packages, run

pytestmark = pytest.mark.clients
PAGE = (ROOT / "docs/signing.md").read_text()
FRIEND = "0x3838383838383838383838383838383838383838"
DEPLOY = """
import { readFileSync } from 'node:fs';
import { ContractFactory, JsonRpcProvider } from 'ethers';
import { KmsServiceClient } from '@kms-service/client';
import { KmsServiceSigner } from '@kms-service/client/ethers';

const [baseUrl, token, rpcUrl, userId, contract] = process.argv.slice(2);
const kms = new KmsServiceClient({ baseUrl, token });
const { walletAddress } = await kms.ensureWallet(userId);
const provider = new JsonRpcProvider(rpcUrl);
await provider.send('anvil_setBalance', [walletAddress, '0x8ac7230489e80000']);
const { abi, bytecode } = JSON.parse(readFileSync(contract, 'utf8'));
const factory = new ContractFactory(abi, bytecode, new KmsServiceSigner(kms, userId, provider));
console.log(await (await (await factory.deploy(1000000n)).waitForDeployment()).getAddress());
process.exit(0);
"""
JAVASCRIPT = """
import {{ readFileSync }} from 'node:fs';
const {{ baseUrl, token, rpcUrl, userId, address, abi, to }} = JSON.parse(readFileSync('given.json', 'utf8'));
const amount = 5n;
{shown}
if (!/^0x[0-9a-f]{{130}}$/.test(signature)) throw new Error(signature);
console.log('all went through');
process.exit(0);
"""
READ = """
import json
given = json.load(open("given.json"))
base_url, token, rpc_url, user_id = (given[name] for name in ("baseUrl", "token", "rpcUrl", "userId"))
address, abi, to, amount = given["address"], given["abi"], given["to"], 5
"""


def code_of(section: str, language: str) -> str:
    """The code of a section that is not the one before."""
    text = PAGE.split(f"\n## {section}\n")[1].split("\n## ")[0]
    blocks = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    return "\n".join(block for block in blocks if not block.startswith(("// before", "# before")))


@pytest.fixture(scope="module")
def folder(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the clients and with what the page presupposes."""
    packages = npm_packages()
    folder = tmp_path_factory.mktemp("page")
    (folder / "node_modules/@kms-service").mkdir(parents=True)
    (folder / "node_modules/@kms-service/client").symlink_to(TYPESCRIPT)
    for name in ("ethers", "viem"):
        (folder / "node_modules" / name).symlink_to(packages / name)
    run("node", "compile-contract.mjs", folder / "Token.json", folder=TYPESCRIPT)
    (folder / "deploy.mjs").write_text(DEPLOY)
    with local_chain(packages) as chain:
        given = {"baseUrl": str(service.client.base_url), "token": service.token, "rpcUrl": chain}
        words = (*given.values(), "page", "Token.json")
        address = run("node", "deploy.mjs", *words, folder=folder).split()[-1]
        abi = json.loads((folder / "Token.json").read_text())["abi"]
        given |= {"userId": "page", "address": address, "abi": abi, "to": FRIEND}
        (folder / "given.json").write_text(json.dumps(given))
        yield folder


@pytest.mark.parametrize("sections", [["ethers", "Nonces, gas and broadcasting"], ["viem"]])
def test_the_javascript_runs(folder: Path, sections: list[str]) -> None:
    code = "\n".join(code_of(section, "js") for section in sections)
    # ethers keeps answers for a quarter of a second, which is longer than this chain's blocks.
    code = code.replace("JsonRpcProvider(rpcUrl)", "JsonRpcProvider(rpcUrl, undefined, { cacheTimeout: -1 })")
    (folder / "shown.mjs").write_text(JAVASCRIPT.format(shown=code))
    assert run("node", "shown.mjs", folder=folder).splitlines()[-1] == "all went through"


def test_the_python_runs(folder: Path, client_python: Path) -> None:
    code = f"{READ}{code_of('web3.py', 'python')}\nassert len(signature) == 65\nprint('all went through')\n"
    (folder / "shown.py").write_text(code)
    shutil.copytree(PYTHON / "src/kms_service_client", folder / "kms_service_client")
    assert run(client_python, "shown.py", folder=folder).splitlines()[-1] == "all went through"
