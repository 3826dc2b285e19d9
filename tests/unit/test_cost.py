"""`kms-service cost`: what a month of KMS costs, from a plan and from a running server's counters."""

import json
from collections.abc import Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest
from click.testing import CliRunner

from kms_service.cli.cost import cost
from kms_service.kms.control_plane import pricing
from kms_service.telemetry.rates import billable_requests

SCRAPE = """\
# TYPE kms_service_kms_billable_requests_total counter
kms_service_kms_billable_requests_total{operation="Encrypt",purpose="wallet-dek"} 600.0
kms_service_kms_billable_requests_total{operation="Decrypt",purpose="wallet-dek"} 1200.0
kms_service_kms_billable_requests_total{operation="Encrypt",purpose="audit-chain"} 1.0
# TYPE kms_service_start_time_seconds gauge
kms_service_start_time_seconds 1000.0
"""


def run(*arguments: str) -> dict[str, Any]:
    result = CliRunner().invoke(cost, [*arguments, "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.output)
    return found


@pytest.mark.parametrize(("rotations", "dollars"), [(0, 10), (1, 20), (2, 30), (3, 30)])
def test_a_key_costs_a_dollar_and_its_first_two_rotations_one_each(rotations: int, dollars: int) -> None:
    assert pricing.total(pricing.keys(10, rotations)) == dollars


def test_ten_thousand_requests_cost_three_cents() -> None:
    assert pricing.total(pricing.requests({"any": Decimal(10_000)})) == Decimal("0.03")


def test_a_plan_counts_a_request_a_wallet_and_a_request_a_read() -> None:
    bill = run("--keys", "1", "--rotations", "0", "--wallets", "120000", "--reads-per-day", "12000",
               "--processes", "0")  # fmt: skip
    # 120,000 + 12,000 x 365/12 = 485,000 requests: 1.455 dollars, and one for the key.
    assert bill["totalPerMonth"] == 2.46  # 2.455 in full


def test_looking_at_the_keys_is_part_of_the_plan() -> None:
    looks = pricing.requests_of_plan(wallets=0, reads_a_day=0, key_count=10, processes=2, refresh_seconds=300)
    assert looks["checks of the keys' state"] == pytest.approx(2 * 10 * 2 * 8760)


def test_a_second_region_costs_its_replicas_and_trials_and_hedging_a_hundredth() -> None:
    plan = ("--keys", "10", "--rotations", "0", "--reads-per-day", "120000", "--processes", "1")
    one, two, hedged = run(*plan), run(*plan, "--second-region"), run(*plan, "--hedging")
    # Ten dollars for ten replicas, and 43,800 trials.
    assert two["totalPerMonth"] - one["totalPerMonth"] == pytest.approx(10.13, abs=0.01)
    (twice,) = [each for each in hedged["items"] if each["name"].startswith("hedged")]
    assert twice["quantityPerMonth"] == 36_500
    assert hedged["totalPerMonth"] - two["totalPerMonth"] == pytest.approx(0.11, abs=0.01)


def test_counters_become_rates_by_purpose() -> None:
    assert billable_requests(SCRAPE, now=1600.0) == {
        "Decrypt (wallet-dek)": 2.0,
        "Encrypt (audit-chain)": pytest.approx(1 / 600),
        "Encrypt (wallet-dek)": 1.0,
    }


@pytest.mark.parametrize("text", ["", "<html>hello</html>", SCRAPE.replace("start_time", "other_time")])
def test_text_that_is_not_a_scrape_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="does not answer with"):
        billable_requests(text, now=1600.0)


@pytest.fixture
def server() -> Iterator[str]:
    class Scraped(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(SCRAPE.encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Scraped) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/metrics"
        server.shutdown()
        thread.join()


def test_replicas_are_added_up(server: str) -> None:
    one, two = run("--scrape", server), run("--scrape", server, "--scrape", server)
    key_dollars = 30
    assert two["totalPerMonth"] - key_dollars == pytest.approx(
        2 * (one["totalPerMonth"] - key_dollars), abs=0.02
    )


def test_the_printed_table_adds_up() -> None:
    result = CliRunner().invoke(cost, ["--wallets", "1000000"], catch_exceptions=False)
    assert "customer managed keys" in result.output
    assert "33.53" in result.output  # 30 for the keys, 3.00 for the wallets, 0.53 for the looks


@pytest.mark.parametrize(
    ("url", "message"),
    [("ftp://127.0.0.1/", "http(s)"), ("http://127.0.0.1:9/metrics", "does not answer")],
)
def test_an_address_that_does_not_answer_is_reported_in_one_line(url: str, message: str) -> None:
    result = CliRunner().invoke(cost, ["--scrape", url])
    assert result.exit_code != 0
    assert message in result.output
