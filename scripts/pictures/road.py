"""Draws the path of a private key, step by step, with the function of each step."""

import re
from dataclasses import dataclass
from pathlib import Path

from svg import arrow, box, line, page, text

PACKAGE = Path(__file__).parents[2] / "src/kms_service"
WIDTH, HEIGHT, STEP, TOP = 1000, 68, 84, 84
LEFT, MIDDLE, RIGHT = 170, 560, 800


@dataclass(frozen=True, slots=True)
class Step:
    """One step: what it does and why, where it is in the code, and what it asks of whom."""

    does: str
    why: str
    file: str
    function: str
    asks: str = ""
    about: str = ""
    secret: bool = False


ROAD = (
    Step("Check the token and its scope", "before the body is read", "api/security.py", "authorize"),
    Step(
        "Refuse while sealed; count the token's limit",
        "from here on, refusals are recorded too",
        "service/wallets/guard.py",
        "admit",
        "PostgreSQL",
        "limit, seal",
    ),
    Step(
        "Check the token's policy, if it has one",
        "before the wallet is looked up: a refusal does not show whether it exists",
        "service/policies/guard.py",
        "judge",
        "PostgreSQL",
        "policy",
    ),
    Step(
        "Read the wallet's row",
        "no connection is held after it",
        "store/wallets/find.py",
        "find_encrypted",
        "PostgreSQL",
        "row",
    ),
    Step(
        "Count it in the policy's windows",
        "last step before KMS, so that only requests to KMS count",
        "service/policies/guard.py",
        "take",
        "PostgreSQL",
        "windows",
    ),
    Step(
        "Have KMS decrypt the data key",
        "naming the row's key; the reply must name it too, and have 32 bytes",
        "kms/aws.py",
        "decrypt",
        "AWS KMS",
        "kms:Decrypt",
        secret=True,
    ),
    Step(
        "Decrypt the private key and mnemonic",
        "the tag is valid only for this user and address",
        "crypto/envelope.py",
        "decrypt",
        secret=True,
    ),
    Step(
        "Compare the key's address",
        "with the one in the row",
        "service/wallets/opening.py",
        "_match",
        secret=True,
    ),
    Step(
        "Check the seal again",
        "it may have closed while KMS was asked",
        "service/wallets/guard.py",
        "check_seal",
        secret=True,
    ),
    Step(
        "Commit the audit row",
        "linked to the row before it; without it there is no answer",
        "service/audit/log.py",
        "record",
        "PostgreSQL",
        "audit row",
        secret=True,
    ),
)


def draw() -> str:
    """The picture of the path.

    Raises:
        LookupError: a step's function is not where the picture says.
    """
    for step in ROAD:
        if not re.search(rf"def {step.function}\b", (PACKAGE / step.file).read_text()):
            raise LookupError(f"{step.file} has no {step.function}")
    end = TOP + STEP * len(ROAD)
    height = end + 62
    shapes = [
        box(LEFT, 20, MIDDLE, 40),
        text(LEFT + MIDDLE / 2, 45, "GET /wallets/{userId}/private-key", "title", "middle"),
        *(shape for number, step in enumerate(ROAD) for shape in _step(number, step)),
        arrow(LEFT + 40, end - STEP + HEIGHT, LEFT + 40, end),
        box(LEFT, end, MIDDLE, 40, "stop"),
        text(LEFT + MIDDLE / 2, end + 25, "Answer with the private key", "title", "middle"),
        *_secret(),
    ]
    title = "The path of a private key: what is checked, in which order, before it leaves"
    return page(WIDTH, height, title, shapes)


def _step(number: int, step: Step) -> list[str]:
    y = TOP + STEP * number
    shapes = [
        arrow(LEFT + 40, y - STEP + HEIGHT if number else 60, LEFT + 40, y),
        box(LEFT, y, MIDDLE, HEIGHT, "stop" if step.secret else "box"),
        text(LEFT + 18, y + 24, f"{number + 1}", "title"),
        text(LEFT + 40, y + 24, step.does, "title"),
        text(LEFT + 40, y + 41, step.why, "small"),
        text(LEFT + 40, y + 58, f"{step.file} · {step.function}", "code"),
    ]
    if step.asks:
        middle = y + HEIGHT / 2
        style = "outer" if step.asks == "AWS KMS" else "inner"
        shapes += [
            arrow(LEFT + MIDDLE, middle, RIGHT + 30, middle),
            text((LEFT + MIDDLE + RIGHT + 24) / 2, middle - 7, step.about, "small", "middle"),
            box(RIGHT + 30, middle - 20, 150, 40, style),
            text(RIGHT + 105, middle + 5, step.asks, "title", "middle"),
        ]
    return shapes


def _secret() -> list[str]:
    """A bracket beside the steps during which a secret is in memory."""
    first = next(number for number, step in enumerate(ROAD) if step.secret)
    top, end = TOP + STEP * first, TOP + STEP * len(ROAD) + 40
    middle = (top + end) / 2
    return [
        line(LEFT - 14, top, LEFT - 14, end),
        line(LEFT - 14, top, LEFT - 8, top),
        line(LEFT - 14, end, LEFT - 8, end),
        *(
            text(LEFT - 24, middle + 16 * n, words, "small", "end")
            for n, words in enumerate(("A secret is in", "this request's", "memory, and", "nowhere else."))
        ),
    ]
