"""Clients made from the OpenAPI document by others' generators compile and work."""

import json
import shutil
from pathlib import Path

import pytest

from calling import Service
from chain import npm_packages, run

pytestmark = pytest.mark.clients
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def document(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("document") / "openapi.json"
    path.write_text(json.dumps(service.client.get("/openapi.json").json()))
    return path


def test_openapi_python_client_makes_a_client_that_works(
    document: Path, service: Service, client_python: Path, tmp_path: Path
) -> None:
    tools = client_python.parent
    command = ("generate", "--path", document, "--output-path", tmp_path / "generated", "--meta", "none")
    printed = run(
        tools / "openapi-python-client",
        *command,
        "--fail-on-warning",
        folder=tmp_path,
        env={"PATH": str(tools)},
    )
    assert "Warning" not in printed
    assert (tmp_path / "generated/api/wallets/create_wallet.py").is_file()
    shutil.copy(HERE / "generated_session.py", tmp_path)
    run(client_python, "-m", "compileall", "-q", "generated", folder=tmp_path)
    arguments = (str(service.client.base_url), service.token)
    printed = run(client_python, "generated_session.py", *arguments, folder=tmp_path)
    assert printed.splitlines()[-1] == "all went through"


def test_openapi_typescript_makes_types_that_work(document: Path, service: Service, tmp_path: Path) -> None:
    packages = npm_packages()
    (tmp_path / "node_modules").symlink_to(packages)
    (tmp_path / "package.json").write_text('{ "type": "module" }')
    shutil.copy(HERE / "generated_session.ts", tmp_path)
    options = ("--default-non-nullable=false", "--output", "openapi.ts")
    run(packages / ".bin/openapi-typescript", document, *options, folder=tmp_path)
    strict = ("--strict", "--target", "ES2022", "--module", "NodeNext", "--types", "node", "--skipLibCheck")
    run(packages / ".bin/tsc", *strict, "generated_session.ts", folder=tmp_path)
    arguments = (str(service.client.base_url), service.token)
    printed = run("node", "generated_session.js", *arguments, folder=tmp_path)
    assert printed.splitlines()[-1] == "all went through"
