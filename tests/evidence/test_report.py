"""The page for people: complete, escaped, without script, and printable."""

import re
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import chromium
from kms_service.errors import InvalidRequest
from kms_service.service.evidence.report import (
    Check,
    Day,
    Happening,
    KeyLine,
    MonthlyReport,
    Uses,
    html,
    month_of,
)

MONTH = month_of("2026-11")
HOSTILE = '<script>alert("x")</script>'


def _report() -> MonthlyReport:
    at = MONTH.since + timedelta(days=3, hours=5)
    return MonthlyReport(
        month=MONTH,
        made_at=datetime(2026, 12, 1, 6, tzinfo=UTC),
        made_by="cli:auditor",
        version="1.0",
        checks=[
            Check("Audit log", True, "1,204,331 rows in 62 chains are as they were written."),
            Check("CloudTrail", False, "2 of 1,204,100 calls have no explanation.", [HOSTILE], 2),
            Check("Heads outside the database", None, "AUDIT_HEADS_URL is not set."),
        ],
        released=[
            Uses("checkout", "sign.transaction", "ok", 1_190_000, 40_000),
            Uses(HOSTILE, "x", "ok", 1, 1),
        ],
        refused=[Uses("payouts", "private_key.read", "rate_limited", 312, 12)],
        made=[Uses("sign-up", "wallet.create", "ok", 900, 900)],
        days=[
            Day(MONTH.since + timedelta(days=day), 35_000 + 900 * (day % 7), 10 * day) for day in range(30)
        ],
        keys=[
            KeyLine(f"alias/wallet-{n}", "Active", "active", 4_000 + n, "every 365 days") for n in range(10)
        ],
        rotations=[Happening(at, "cli:ops", "rotation.start", "ok", "from 2 keys to 8")],
        seals=[Happening(at, "cli:ops", "seal.close", "ok", "drill")],
        canaries=[],
        tokens=[Happening(at, "cli:ops", "token.create", "ok", "payouts: wallets:sign")],
    )


def test_the_page_shows_everything_and_escapes_it() -> None:
    page = html(_report())
    for told in (
        "November 2026",
        "1,190,000",
        "rate_limited",
        "alias/wallet-9",
        "drill",
        "not set",
        "FAILED",
    ):
        assert told in page
    assert HOSTILE not in page
    assert page.count("&lt;script&gt;") == 2
    assert "1 more is not listed here" in page


def test_the_page_needs_nothing_from_anywhere() -> None:
    page = html(_report())
    assert "<script" not in page
    assert not re.search(r"(?:src|href|url)\s*[=(]", page)


def test_an_empty_month_is_a_page_too() -> None:
    report = _report()
    empty: dict[str, Any] = dict.fromkeys(
        ("checks", "released", "refused", "made", "days", "keys", "rotations", "seals", "tokens"), ()
    )
    page = html(replace(report, **empty))
    assert page.count("None.") == 8
    assert "No check was made." in page


@pytest.mark.parametrize("text", ["2026-13", "2026", "november", "", "2026-11-01"])
def test_anything_but_a_month_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        month_of(text)


def test_december_ends_with_the_year() -> None:
    assert month_of("2026-12").until == datetime(2027, 1, 1, tzinfo=UTC)


@pytest.mark.skipif(chromium.FOUND is None, reason="needs Chromium")
def test_the_page_prints_to_pdf(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text(html(_report()))
    subprocess.run(  # noqa: S603 - the browser that was found
        [
            str(chromium.FOUND),
            *("--headless", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer"),
            *(f"--user-data-dir={tmp_path / 'profile'}", f"--print-to-pdf={tmp_path / 'report.pdf'}"),
            page.as_uri(),
        ],
        check=True,
        capture_output=True,
        timeout=120,
    )
    pdf = (tmp_path / "report.pdf").read_bytes()
    assert pdf.startswith(b"%PDF")
    assert 1 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 4
