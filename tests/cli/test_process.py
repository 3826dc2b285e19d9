"""Who a command acts as."""

import os
import pwd

import pytest

from kms_service.cli.process import command as process


def test_an_operator_without_an_account_is_named_by_uid(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container whose passwd file does not know the uid it runs under."""

    def unknown(uid: int) -> pwd.struct_passwd:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert process._account() == f"uid-{os.getuid()}"
