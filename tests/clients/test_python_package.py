"""The Python client: built, installed into an empty environment, and driven by web3.py on a local chain."""

import sys
import zipfile
from pathlib import Path

import pytest

from calling import Service
from chain import PYTHON, TYPESCRIPT, install_wheel, local_chain, npm_packages, run

pytestmark = pytest.mark.clients


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    run(sys.executable, "-m", "hatchling", "build", "-d", folder, folder=PYTHON)
    return folder


def test_the_wheel_holds_the_package_and_its_types(dist: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "kms_service_client/py.typed" in names
    assert [name for name in names if name.endswith("/LICENSE")]
    assert {name.split("/")[0].split("-")[0] for name in names} == {"kms_service_client"}
    assert list(dist.glob("*.tar.gz"))


def test_web3_sends_transactions_with_what_was_built(
    dist: Path, service: Service, client_python: Path
) -> None:
    packages = npm_packages()
    (wheel,) = dist.glob("*.whl")
    install_wheel(client_python, f"{wheel}[eth,export]")
    contract = dist / "Token.json"
    run("node", "compile-contract.mjs", contract, folder=TYPESCRIPT)
    session = Path(__file__).with_name("web3_session.py")
    with local_chain(packages) as chain:
        arguments = (str(service.client.base_url), service.token, chain, contract)
        printed = run(client_python, "-I", session, *arguments, folder=dist)
    assert printed.splitlines()[-1] == "all went through"
