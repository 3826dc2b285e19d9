"""`kms-service cost`."""

import json
import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import click
from rich.table import Table

from kms_service.cli.lines import tell
from kms_service.cli.screen import screen
from kms_service.kms.control_plane import pricing
from kms_service.telemetry import rates

_SCRAPE_SECONDS = 5
_REFRESH_SECONDS = 300.0


@click.command()
@click.option("--keys", type=click.IntRange(1, 100), default=10, show_default=True, help="Keys of the pool.")
@click.option(
    "--rotations",
    type=click.IntRange(0),
    default=2,
    show_default=True,
    help="How often each key was rotated; from the second on it costs no more.",
)
@click.option("--wallets", type=click.IntRange(0), default=0, help="New wallets a month.")
@click.option("--reads-per-day", type=click.IntRange(0), default=0, help="Private keys and signatures a day.")
@click.option(
    "--processes", type=click.IntRange(0), default=1, show_default=True, help="Workers in all replicas."
)
@click.option("--second-region", is_flag=True, help="With replicas of all keys in KMS_FALLBACK_REGION.")
@click.option("--hedging", is_flag=True, help="With KMS_HEDGING; implies --second-region.")
@click.option(
    "--scrape",
    "urls",
    multiple=True,
    metavar="URL",
    help="Project from the counters of a running server instead of a plan, such as "
    "http://127.0.0.1:3001/metrics; repeat for each replica.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def cost(
    keys: int,
    rotations: int,
    wallets: int,
    reads_per_day: int,
    processes: int,
    urls: tuple[str, ...],
    *,
    second_region: bool,
    hedging: bool,
    as_json: bool,
) -> None:
    """Project what AWS KMS costs in a month, in US dollars: keys, their rotated versions, requests.

    From a plan (--wallets, --reads-per-day, --processes), or from what a running server did (--scrape).
    Prices are those of commercial Regions in 2026, without the free tier. A scrape counts the requests to
    both Regions, including hedged ones.
    """
    both = second_region or hedging
    if urls:
        requests = pricing.requests_at_rates(_observe(urls))
    else:
        requests = pricing.requests_of_plan(
            wallets=wallets,
            reads_a_day=reads_per_day,
            key_count=keys,
            processes=processes,
            refresh_seconds=_REFRESH_SECONDS,
        )
        if both:
            requests = pricing.requests_of_two_regions(requests, processes=processes, hedging=hedging)
    items = [*pricing.keys(2 * keys if both else keys, rotations), *pricing.requests(requests)]
    if as_json:
        tell(json.dumps({"currency": "USD", "items": [_facts(item) for item in items], **_sum(items)}))
    else:
        screen().print(_table(items))


def _observe(urls: Sequence[str]) -> dict[str, float]:
    together: dict[str, float] = defaultdict(float)
    for url in urls:
        try:
            found = rates.billable_requests(_fetch(url), time.time())
        except ValueError as error:
            raise click.ClickException(f"{url} {error}") from error
        for name, rate in found.items():
            together[name] += rate
    return together


def _fetch(url: str) -> str:
    if urlsplit(url).scheme not in {"http", "https"}:
        raise click.BadParameter("must be an http(s) URL", param_hint="--scrape")
    try:
        with urllib.request.urlopen(url, timeout=_SCRAPE_SECONDS) as answer:  # noqa: S310 # checked above
            return str(answer.read().decode("utf-8", "replace"))
    except (urllib.error.URLError, OSError) as error:
        reason = getattr(error, "reason", None) or type(error).__name__
        raise click.ClickException(f"{url} does not answer: {reason}") from error


def _facts(item: pricing.Item) -> dict[str, Any]:
    return {
        "name": item.name,
        "quantityPerMonth": round(float(item.quantity), 3),
        "price": float(item.price),
        "amountPerMonth": round(float(item.amount), 4),
    }


def _sum(items: Sequence[pricing.Item]) -> dict[str, float]:
    return {"totalPerMonth": round(float(pricing.total(items)), 2)}


def _table(items: Sequence[pricing.Item]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", show_footer=True)
    table.add_column("AWS KMS, a month", "Together")
    table.add_column("Quantity", justify="right")
    table.add_column("Price", justify="right")
    table.add_column("US dollars", f"{pricing.total(items):,.2f}", justify="right")
    for item in items:
        each = f"{item.price:,.2f}" if item.price >= Decimal("0.01") else f"{item.price * 10_000:,.2f}/10,000"
        table.add_row(item.name, f"{item.quantity:,.0f}", each, f"{item.amount:,.2f}")
    return table
