"""The exception tree is the one in the docstring, and each of its errors has an answer."""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator

import pytest

import kms_service
from kms_service import errors
from kms_service.api import problems
from kms_service.errors import KmsServiceError

# Who reads them is at a terminal; over HTTP they would be a fault of ours.
COMMAND_LINE_ONLY = (errors.StartupError,)
ONLY_THEIR_CHILDREN_ARE_RAISED = {errors.CallerError, errors.KmsError}


def _read_tree() -> dict[str, str]:
    """Each name of the docstring's tree, and the name it hangs under."""
    parents: dict[str, str] = {}
    path: list[str] = []
    for line in str(errors.__doc__).splitlines()[2:]:
        match = re.match(r"([│├└─ ]*)(\w+)", line)
        assert match is not None, line
        depth = len(match[1]) // 4
        path[depth:] = [match[2]]
        if depth:
            parents[match[2]] = path[depth - 1]
    return parents


def _all() -> set[type[KmsServiceError]]:
    """Every error of the package, its modules all imported."""
    for module in pkgutil.walk_packages(kms_service.__path__, "kms_service."):
        if not module.name.endswith("__main__") and ".migrations" not in module.name:
            importlib.import_module(module.name)

    def below(kind: type[KmsServiceError]) -> Iterator[type[KmsServiceError]]:
        for child in kind.__subclasses__():
            yield child
            yield from below(child)

    return {kind for kind in below(KmsServiceError) if kind.__module__.startswith("kms_service")}


def test_the_tree_in_the_docstring_is_the_real_one() -> None:
    real = {
        name: kind.__base__.__name__
        for name, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, KmsServiceError) and kind is not KmsServiceError and kind.__base__
    }
    assert _read_tree() == real


def test_every_error_of_the_tree_has_its_answer() -> None:
    for kind in _all():
        if not kind.__module__.startswith(errors.__name__) or kind in ONLY_THEIR_CHILDREN_ARE_RAISED:
            continue
        ancestors = kind.__mro__[: kind.__mro__.index(KmsServiceError)]
        answered = any(ancestor in problems.ANSWERS for ancestor in ancestors)
        assert answered or issubclass(kind, COMMAND_LINE_ONLY), kind


def test_every_error_has_a_code_of_its_own() -> None:
    for kind in _all() - {errors.StartupError} - ONLY_THEIR_CHILDREN_ARE_RAISED:
        if kind.__module__.startswith(errors.__name__):
            assert kind.code != "internal_error", kind
        assert re.fullmatch(r"[a-z_]+", kind.code)


@pytest.mark.parametrize(
    ("error", "members"),
    [
        (errors.WalletExists("0xabc"), {"status": 409, "walletAddress": "0xabc"}),
        (errors.WalletNotFound(), {"status": 404, "code": "wallet_not_found"}),
        (errors.TokenNotFound("no token"), {"status": 404, "code": "token_not_found"}),
        (errors.NotAuthorized("wallets:read"), {"status": 403}),
        (errors.RateLimited("10 private-key reads", 30), {"status": 429, "code": "rate_limited"}),
        (errors.InvalidRequest("is wrong", "body.to"), {"status": 422, "code": "invalid_request"}),
        (
            errors.IntegrityFailure("seed tag", "id"),
            {"status": 500, "detail": "The stored wallet does not open."},
        ),
        (errors.KmsThrottled("ThrottlingException", "alias/k"), {"status": 503, "code": "kms_throttled"}),
        (errors.Sealed(), {"status": 503, "code": "sealed"}),
        (errors.Overloaded(), {"status": 503, "code": "overloaded"}),
        (errors.TimedOut(), {"status": 503, "code": "deadline_exceeded"}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_problem_says_what_the_contract_says(error: KmsServiceError, members: dict[str, object]) -> None:
    problem = problems.problem(error)
    assert problem.items() >= members.items()
    assert problem.keys() >= {"type", "title", "status", "detail", "code"}


def test_a_caller_who_may_try_again_is_told_when() -> None:
    for kind, (status, _) in problems.ANSWERS.items():
        assert (status == 503) == (kind in RETRIED), kind
    assert problems.response(errors.Overloaded()).headers["Retry-After"] == str(problems.RETRY_SECONDS)
    assert problems.response(errors.RateLimited("10 reads", 30)).headers["Retry-After"] == "30"
    assert "Retry-After" not in problems.response(errors.WalletNotFound()).headers


def test_integrity_failures_of_every_cause_look_the_same() -> None:
    answers = [problems.problem(errors.IntegrityFailure(reason)) for reason in ("seed tag", "address", "dek")]
    assert answers[0] == answers[1] == answers[2]
    assert all(word not in str(answers[0]) for word in ("tag", "address", "dek"))


RETRIED = {
    errors.KmsThrottled,
    errors.KmsUnavailable,
    errors.KmsKeyUnusable,
    errors.NoUsableKey,
    errors.DatabaseUnavailable,
    errors.AuditUnavailable,
    errors.Overloaded,
    errors.TimedOut,
    errors.Sealed,
}
