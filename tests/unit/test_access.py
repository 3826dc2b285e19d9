"""Tokens and scopes, decided without HTTP and without a database."""

import hashlib
from collections.abc import Callable

import pytest

from kms_service.access import tokens
from kms_service.access.scopes import Caller, Scope
from kms_service.errors import NotAuthorized

CONTRACT = {
    "wallets:create", "wallets:read", "wallets:import", "wallets:sign",
    "wallets:delegate", "private-keys:read", "private-keys:export", "pool:read",
    "pool:admin", "rotations:read", "rotations:admin", "audit:read",
}  # fmt: skip


def test_the_scopes_are_those_of_the_contract() -> None:
    assert {scope.value for scope in Scope} == CONTRACT


@pytest.mark.parametrize("held", Scope)
def test_no_scope_implies_another(held: Scope) -> None:
    caller = Caller("app", frozenset({held.value}), None, None, None)
    caller.require(held)
    for other in set(Scope) - {held}:
        with pytest.raises(NotAuthorized, match=f"lacks the scope {other}"):
            caller.require(other)


def test_without_scopes_nothing_is_allowed() -> None:
    for scope in Scope:
        with pytest.raises(NotAuthorized):
            Caller("app", frozenset(), None, None, None).require(scope)


NEW_FORM = tokens.join(bytes(range(32)), bytes(16))
OLD_FORM = "kms_" + "A" * 43


def test_a_token_holds_random_bytes_and_a_check_of_them() -> None:
    assert (len(NEW_FORM), NEW_FORM[:4]) == (68, "kms_")
    form = tokens.split(NEW_FORM)
    assert form is not None
    assert (form.random, form.check) == (bytes(range(32)), bytes(16))
    assert repr(form) == "<CheckedForm: secret>"
    assert tokens.split(OLD_FORM) is None


@pytest.mark.parametrize("token", [NEW_FORM, OLD_FORM], ids=["new form", "old form"])
def test_a_digest_is_sha_256_of_the_whole(token: str) -> None:
    assert tokens.digest(token) == hashlib.sha256(token.encode()).digest()


CHANGES: dict[str, Callable[[str], str]] = {
    "empty": lambda token: token[:0],
    "no prefix": lambda token: token[4:],
    "too short": lambda token: token[:-1],
    "too long": lambda token: token + "A",
    "a line break behind it": lambda token: token + "\n",
    "a space before it": lambda token: " " + token,
    "an upper-case prefix": lambda token: token.upper()[:4] + token[4:],
    "a letter beyond ASCII": lambda token: token[:-1] + "é",
    "a digit beyond ASCII": lambda token: token[:-1] + "٣",
    "padding": lambda token: token[:-1] + "=",
}


@pytest.mark.parametrize("token", [NEW_FORM, OLD_FORM], ids=["new form", "old form"])
@pytest.mark.parametrize("change", CHANGES)
def test_anything_not_shaped_like_a_token_has_no_digest(change: str, token: str) -> None:
    changed = CHANGES[change](token)
    assert tokens.digest(changed) is None
    assert tokens.split(changed) is None


@pytest.mark.parametrize("name", ["a", "payments", "Pay-1.eu_west", "0" * 64])
def test_a_well_formed_token_name_is_accepted(name: str) -> None:
    assert tokens.is_name(name)


@pytest.mark.parametrize(
    "name",
    ["", "-a", ".a", "a b", "a\n", "é", "0" * 65, "cli:root", "kms-service", "Rotation-Worker", "unknown"],
)
def test_a_malformed_or_reserved_token_name_is_refused(name: str) -> None:
    """A colon is not allowed, so that no token can pass for an operator's `cli:` in the audit log."""
    assert not tokens.is_name(name)
