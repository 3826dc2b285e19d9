"""Every use case that releases, creates or changes takes its caller as first argument (invariant 14)."""

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import pytest

import kms_service
from kms_service.access.scopes import Caller
from kms_service.bootstrap import Services
from kms_service.service.adoption.adopt import Adopter
from kms_service.service.wallets.guard import ReleaseGuard
from kms_service.service.wallets.release import Releases

SOURCE = Path(kms_service.__file__).parent

# They look, or they keep this process going: nothing is released, created or changed for anybody.
FOR_NOBODY = {
    "Services": set(),
    "AuditLog": {"check", "try_to_begin", "tell_heads", "close"},
    "AuditTrail": {"page", "newest"},
    "AuditVerifier": {"expected_rows", "verify", "key"},
    "Authenticator": {"expect", "recall", "authenticate", "note_last_use"},
    "Census": {"read", "take", "last_count"},
    "CanaryService": {"list_all"},
    "CloudTrailReconciler": {"reconcile"},
    "EvidenceExport": {"export"},
    "HeadKeeper": {"note", "keep", "read"},
    "KeyLifecycle": {"retirement"},
    "MonthlyReports": {"collect"},
    "Overviews": {"read", "now"},
    "PolicyService": {"show", "list_all", "history", "usage"},
    "PoolService": {"state", "refresh"},
    "Readiness": {"probe", "drain", "show_seal", "health"},
    "ReleaseGuard": {"check_seal"},
    "RewrapJobs": {"newest", "find", "find_live", "failures", "key_arn"},
    "RewrapWorker": {"start", "stop"},
    "RowMacs": {"current", "keyring", "heal", "try_to_load", "tend"},
    "SealService": {"state"},
    "SharedStatePoll": {"poll", "recent"},
    "SigningService": {"warm_up"},
    "TokenService": {"list_all", "find_refused", "list_unconfirmed"},
    "WalletsKmsService": {"get_wallet", "list_wallets"},
}


def _use_cases() -> Iterator[type]:
    kinds = [kind for kind in get_type_hints(Services).values() if inspect.isclass(kind)]
    yield from (kind for kind in kinds if kind.__module__.startswith("kms_service.service."))
    yield from (Releases, ReleaseGuard, Adopter)


def _public(kind: type) -> Iterator[tuple[str, Any]]:
    for name, member in inspect.getmembers(kind, inspect.isfunction):
        if not name.startswith("_"):
            yield name, member


CASES = [
    pytest.param(member, id=f"{kind.__name__}.{name}")
    for kind in _use_cases()
    for name, member in _public(kind)
    if name not in FOR_NOBODY.get(kind.__name__, set())
]


@pytest.mark.invariant(14)
@pytest.mark.parametrize("use_case", CASES)
def test_the_first_argument_is_the_caller(use_case: Any) -> None:
    first = list(inspect.signature(use_case).parameters.values())[1:2]
    assert [each.name for each in first] == ["caller"]
    assert first[0].default is inspect.Parameter.empty
    assert get_type_hints(use_case)["caller"] is Caller


def test_every_exempt_method_still_exists() -> None:
    for kind in _use_cases():
        missing = FOR_NOBODY.get(kind.__name__, set()) - {name for name, _ in _public(kind)}
        assert not missing, (kind.__name__, missing)


@pytest.mark.invariant(14)
def test_no_context_variable_holds_the_caller() -> None:
    made = {
        node.target.id if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) else path.name
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Assign | ast.AnnAssign)
        and isinstance(node.value, ast.Call)
        and ast.unparse(node.value.func) in {"ContextVar", "contextvars.ContextVar"}
    }
    assert made == {"request_id", "_deadline"}
