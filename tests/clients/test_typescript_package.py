"""The TypeScript client: packed, installed into an empty project, and driven against service and chain."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from calling import Service
from chain import TYPESCRIPT, local_chain, npm_packages, run

pytestmark = pytest.mark.clients


@pytest.fixture(scope="module")
def packages() -> Path:
    return npm_packages()


@pytest.fixture(scope="module")
def rpc_url(packages: Path) -> Iterator[str]:
    with local_chain(packages) as url:
        yield url


@pytest.fixture(scope="module")
def project(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with nothing in it but the packed client, ethers and viem."""
    folder = tmp_path_factory.mktemp("project")
    run("npm", "pack", "--pack-destination", folder, folder=TYPESCRIPT)
    (folder / "package.json").write_text(json.dumps({"name": "empty", "private": True, "type": "module"}))
    (archive,) = folder.glob("*.tgz")
    # Peers of the client, and large: taken from where they are installed.
    peers = [packages / name for name in ("ethers", "viem", "@types/node")]
    run("npm", "install", "--prefer-offline", "--no-audit", archive, *peers, folder=folder)
    shutil.copytree(TYPESCRIPT / "test", folder / "test")
    shutil.copy(TYPESCRIPT / "tsconfig.json", folder)
    shutil.copy(TYPESCRIPT / "tsconfig.test.json", folder)
    return folder


def test_an_empty_project_uses_what_was_packed(
    project: Path, packages: Path, service: Service, rpc_url: str
) -> None:
    run("node", packages / "typescript/bin/tsc", "--project", "tsconfig.test.json", folder=project)
    run("node", "compile-contract.mjs", project / "Token.json", folder=TYPESCRIPT)
    setting = {
        "KMS_SERVICE_URL": str(service.client.base_url),
        "KMS_SERVICE_TOKEN": service.token,
        "RPC_URL": rpc_url,
        "CONTRACT": str(project / "Token.json"),
    }
    tests = sorted((project / "build").glob("*.test.js"))
    printed = run("node", "--test", "--test-reporter", "tap", *tests, folder=project, env=setting)
    counts = {
        name: int(count)
        for name, count in re.findall(r"^# (pass|fail|skipped) (\d+)$", printed, re.MULTILINE)
    }
    assert counts["pass"] >= 37, printed
    assert (counts["fail"], counts["skipped"]) == (0, 0)


def test_older_module_resolution_finds_the_types(project: Path, packages: Path) -> None:
    """As a NestJS project has it: CommonJS, and no `exports`."""
    source = """
        import { KmsServiceClient } from '@kms-service/client';
        import { KmsServiceSigner } from '@kms-service/client/ethers';
        import { toKmsServiceAccount } from '@kms-service/client/viem';
        const client = new KmsServiceClient({ baseUrl: 'http://localhost', token: 'x' });
        const signer: KmsServiceSigner = new KmsServiceSigner(client, 'alice');
        export const address: Promise<string> = signer.getAddress();
        export const account = toKmsServiceAccount(client, 'alice');
    """
    (project / "older.ts").write_text(source)
    options = ["--noEmit", "--strict", "--skipLibCheck", "--target", "ES2022", "--module", "CommonJS"]
    options += ["--moduleResolution", "Node10"]
    run("node", packages / "typescript/bin/tsc", *options, "older.ts", folder=project)
