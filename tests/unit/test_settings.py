"""Settings: read once, checked as a whole; problems are named by variable and never show a value."""

import os
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from kms_service.errors import SettingsError
from kms_service.settings import Settings, load_database_settings, load_settings

GOOD = {
    "AWS_REGION": "eu-central-1",
    "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "canary-secret-key",
    "DATABASE_URL": "postgresql://app:canary-password@db.internal:5432/wallets?sslmode=verify-full",
}


@pytest.fixture(autouse=True)
def _good_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)


def _problems() -> tuple[str, ...]:
    with pytest.raises(SettingsError) as error:
        load_settings(None)
    for problem in error.value.problems:
        assert f"\n  {problem}\n" in str(error.value)
    return error.value.problems


def _names() -> list[str]:
    return [problem.partition(":")[0] for problem in _problems()]


def test_the_environment_is_read_with_the_contracts_defaults() -> None:
    settings = load_settings(None)
    assert settings.aws_region == "eu-central-1"
    assert (settings.host, settings.port, settings.workers) == ("127.0.0.1", 3001, 1)
    assert (settings.log_level, settings.log_format, settings.request_deadline_seconds) == (
        "INFO",
        "auto",
        10,
    )
    assert settings.aliases == tuple(f"alias/Empressa-wallet-key-{n}" for n in range(1, 11))


def test_every_problem_is_listed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {
        "AWS_SECRET_ACCESS_KEY": "",
        "AWS_ENDPOINT_URL_KMS": "kms",
        "KMS_KEY_POOL_SIZE": "101",
        "KMS_KEY_ALIAS_PREFIX": "a b",
        "PORT": "http",
        "WORKERS": "0",
        "LOG_LEVEL": "LOUD",
    }
    for name, value in wrong.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_REGION", "DATABASE_URL"):
        monkeypatch.delenv(name)
    assert sorted(_names()) == sorted([*wrong, "AWS_REGION", "DATABASE_URL"])


def test_an_empty_environment_names_what_is_required_and_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in GOOD:
        monkeypatch.delenv(name)
    database, region, credentials = _problems()
    assert database.startswith("DATABASE_URL: is required; set it to postgresql://")
    assert region.startswith("AWS_REGION: is required; set it to the Region of the KMS keys")
    assert credentials.startswith("AWS_SECRET_ACCESS_KEY: set AWS_ACCESS_KEY_ID and this, or give")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "mysql://app:canary@db/wallets"),
        ("DATABASE_URL", "postgresql://app:canary@db"),
        ("DATABASE_URL", "postgresql://app:canary%zz@db/wallets"),  # libpq's own error quotes the password
        ("DATABASE_URL", "postgresql://app:canary:5432/wallets"),
        ("DATABASE_URL", "postgresql://app@db/wallets?canary=1"),
        ("DATABASE_URL", "host=canary dbname=wallets"),
        ("DATABASE_URL", "postgresql://[canary/wallets"),
        ("DATABASE_URL", "canary"),
        ("AWS_ENDPOINT_URL_KMS", "https://canary\u2100:443"),
        ("AWS_ENDPOINT_URL_KMS", "https://canary host"),
        ("AWS_ENDPOINT_URL_KMS", "ftp://canary"),
        ("AWS_ENDPOINT_URL_KMS", "https://host:canary"),
        ("AWS_REGION", "-canary"),
        ("AWS_REGION", "canary/../x"),
        ("KMS_KEY_ALIAS_PREFIX", "canary*"),
        ("KMS_KEY_POOL_SIZE", "canary"),
        ("DOCS_ENABLED", "canary"),
        ("LOG_FORMAT", "canary"),
        ("REQUEST_DEADLINE_SECONDS", "canary"),
    ],
)
def test_a_wrong_value_is_named_and_not_repeated(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    (problem,) = _problems()
    assert problem.startswith(f"{name}: ")
    assert "canary" not in problem


def test_an_error_does_not_carry_the_exception_with_the_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "canary")
    with pytest.raises(SettingsError) as error:
        load_settings(None)
    assert error.value.__cause__ is None
    assert error.value.__suppress_context__


def test_settings_print_no_secret() -> None:
    settings = load_settings(None)
    for text in (repr(settings), str(settings), f"{settings}", repr(settings.model_dump())):
        assert "canary" not in text
    assert "canary" not in settings.model_dump_json()


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        load_settings(None).port = 80  # type: ignore[misc] # what is tested


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / ".env"
    file.write_text("PORT=4000\nWORKERS=2\nSOMEBODY_ELSES=1\n# a comment\nHOST='10.1.2.3'\n")
    monkeypatch.setenv("PORT", "5000")
    settings = load_settings(file)
    assert (settings.port, settings.workers, settings.host) == (5000, 2, "10.1.2.3")


def test_the_file_is_looked_for_where_the_process_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("PORT=4000\n")
    monkeypatch.chdir(tmp_path)
    assert load_settings().port == 4000


def test_a_file_that_is_not_text_is_a_problem_too(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_bytes(b"DATABASE_URL=\xffcanary\n")
    with pytest.raises(SettingsError, match=r"\.env: is not UTF-8") as error:
        load_settings(file)
    assert "canary" not in str(error.value)


def test_an_empty_variable_counts_as_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PORT", "AWS_ENDPOINT_URL_KMS", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "")
    settings = load_settings(None)
    assert (settings.port, settings.aws_endpoint_url_kms, settings.aws_session_token) == (3001, None, None)


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_half_of_the_static_credentials_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.delenv(name)
    assert "set both" in _problems()[0]


def test_credentials_may_come_from_a_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    file = tmp_path / "credentials"
    file.write_text("[custody]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = canary\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    monkeypatch.setenv("AWS_PROFILE", "custody")
    assert load_settings(None).aws_secret_access_key is None
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    assert "ProfileNotFound" in _problems()[0]


@pytest.mark.invariant(10)
@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "localhost", "[::1]"])
def test_plain_http_is_allowed_to_loopback(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", f"http://{host}:4777")
    assert load_settings(None).aws_endpoint_url_kms == f"http://{host}:4777"


@pytest.mark.invariant(10)
@pytest.mark.parametrize(
    "host", ["kms-stand-in", "10.0.0.1", "[fd00::1]", "localhost.example", "127.1.example"]
)
def test_plain_http_elsewhere_must_be_allowed_explicitly(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", f"http://{host}:4777")
    assert _names() == ["KMS_ENDPOINT_ALLOW_HTTP"]
    monkeypatch.setenv("KMS_ENDPOINT_ALLOW_HTTP", "true")
    assert load_settings(None).kms_endpoint_allow_http


def test_migrations_need_the_database_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_ACCESS_KEY_ID"):
        monkeypatch.delenv(name)
    assert load_database_settings(None).database_url.get_secret_value() == GOOD["DATABASE_URL"]
    monkeypatch.delenv("DATABASE_URL")
    with pytest.raises(SettingsError) as error:
        load_database_settings(None)
    assert len(error.value.problems) == 1


def test_every_setting_has_a_default_or_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in GOOD:
        monkeypatch.delenv(name)
    required = {name.upper() for name, field in Settings.model_fields.items() if field.is_required()}
    assert required <= set(_names())


@pytest.mark.parametrize(
    "rest",
    [
        "db.internal/wallets",
        "10.0.0.5/wallets?sslmode=require",
        "db.internal/wallets?sslmode=prefer",
        "127.0.0.1,db.internal/wallets",
        "localhost/wallets?hostaddr=10.0.0.5",
        "/wallets?host=db.internal",
        "/wallets?service=custody",
    ],
)
def test_plaintext_to_a_database_elsewhere_needs_a_reason(monkeypatch: pytest.MonkeyPatch, rest: str) -> None:
    monkeypatch.setenv("DATABASE_URL", f"postgresql://app:canary@{rest}")
    (problem,) = _problems()
    assert problem.startswith("DATABASE_ALLOW_PLAINTEXT: passwords and rows would go to")
    with pytest.raises(SettingsError, match="DATABASE_ALLOW_PLAINTEXT"):
        load_database_settings(None)
    monkeypatch.setenv("DATABASE_ALLOW_PLAINTEXT", "yes")
    assert _names() == ["DATABASE_ALLOW_PLAINTEXT"]
    monkeypatch.setenv("DATABASE_ALLOW_PLAINTEXT", "WireGuard between both hosts")
    assert load_settings(None).database_allow_plaintext


@pytest.mark.parametrize(
    "rest",
    [
        "localhost/wallets",
        "127.0.0.1:5432,[::1]:5433/wallets",
        "%2Frun%2Fpostgresql/wallets",
        "/wallets?host=/run/postgresql",
        "/wallets",
        "db.internal/wallets?sslmode=verify-full",
        "h1:1,h2:2/wallets?sslmode=verify-ca&target_session_attrs=read-write",
    ],
)
def test_a_local_or_verified_database_needs_no_reason(monkeypatch: pytest.MonkeyPatch, rest: str) -> None:
    monkeypatch.setenv("DATABASE_URL", f"postgresql://app:canary@{rest}")
    assert load_settings(None).database_allow_plaintext is None


def test_the_variables_of_libpq_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://app@/wallets")
    monkeypatch.setenv("PGHOST", "db.internal")
    assert _names() == ["DATABASE_ALLOW_PLAINTEXT"]
    monkeypatch.setenv("PGSSLMODE", "verify-full")
    assert load_settings(None).database_allow_plaintext is None


def test_the_database_password_has_one_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_IAM_AUTH", "true")
    assert load_settings(None).database_iam_auth
    monkeypatch.setenv("DATABASE_SECRET_ID", "rds!db-1")
    assert _names() == ["DATABASE_IAM_AUTH"]
    monkeypatch.setenv("DATABASE_SECRET_ID", "")
    monkeypatch.setenv("DATABASE_URL", "postgresql:///wallets")
    assert _names() == ["DATABASE_IAM_AUTH"]


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("AWS_PROFILE", "canary", "ProfileNotFound"),
        ("AWS_DEFAULT_PROFILE", "canary", "ProfileNotFound"),
        ("AWS_DEFAULTS_MODE", "canary", "InvalidDefaultsMode"),
        ("AWS_RETRY_MODE", "canary", "InvalidRetryMode"),
        ("AWS_MAX_ATTEMPTS", "canary", "ValueError"),
        ("AWS_STS_REGIONAL_ENDPOINTS", "canary", "InvalidSTSRegionalEndpointsConfig"),
    ],
)
def test_a_value_that_botocore_cannot_use_is_reported_in_one_line(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, why: str
) -> None:
    monkeypatch.setenv(name, value)
    (problem,) = _problems()
    assert problem.startswith("AWS_")
    assert why in problem
    assert "canary" not in problem


@pytest.mark.parametrize("text", ["canary", "[profile canary", "[default]\ndefaults_mode = canary\n"])
def test_a_malformed_config_file_is_reported_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str
) -> None:
    file = tmp_path / "config"
    file.write_text(text)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(file))
    (problem,) = _problems()
    assert problem.startswith("AWS_CONFIG_FILE: ") or "InvalidDefaultsMode" in problem
    assert "canary" not in problem


def test_a_well_formed_config_file_is_not_a_problem(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text("[profile custody]\nregion = eu-central-1\ndefaults_mode = standard\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(file))
    monkeypatch.setenv("AWS_PROFILE", "custody")
    load_settings(None)


def test_a_config_file_that_is_no_file_needs_no_botocore(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a laptop session: to make a client only to find nothing wrong would slow each command down."""
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setitem(sys.modules, "botocore.session", None)  # its import fails
    load_settings(None)


def test_a_second_region_is_off_unless_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings(None).kms_fallback_region is None
    monkeypatch.setenv("KMS_FALLBACK_REGION", "eu-west-1")
    monkeypatch.setenv("KMS_FALLBACK_ENDPOINT_URL", "https://kms.eu-west-1.internal")
    settings = load_settings(None)
    assert (settings.kms_fallback_region, settings.kms_hedging) == ("eu-west-1", False)


def test_a_second_region_differs_from_the_first_and_fits_the_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KMS_FALLBACK_REGION", "eu-central-1")
    assert _names() == ["KMS_FALLBACK_REGION"]
    monkeypatch.setenv("KMS_FALLBACK_REGION", "eu-west-1")
    monkeypatch.setenv("REQUEST_DEADLINE_SECONDS", "6")
    assert _names() == ["REQUEST_DEADLINE_SECONDS"]
    monkeypatch.setenv("KMS_FALLBACK_ENDPOINT_URL", "http://kms.internal")
    assert _names() == ["KMS_ENDPOINT_ALLOW_HTTP", "REQUEST_DEADLINE_SECONDS"]


@pytest.mark.parametrize("name", ["KMS_HEDGING", "KMS_FALLBACK_WHEN_THROTTLED"])
def test_settings_about_a_second_region_need_one(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "true")
    assert _names() == [name]
