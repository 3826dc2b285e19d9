"""Draws the service among its neighbours, for the front page."""

from svg import arrow, box, page, text


def draw() -> str:
    """The picture of the service and what is around it."""
    shapes = [
        box(20, 90, 160, 90),
        text(100, 131, "Backend services", "title", "middle"),
        text(100, 151, "a token each", "small", "middle"),
        arrow(180, 135, 250, 135),
        text(215, 126, "HTTP", "small", "middle"),
        *_service(),
        *_neighbour(30, "inner", "PostgreSQL: wallets", "encrypted seeds and data keys"),
        *_neighbour(110, "outer", "AWS KMS", "ten keys behind aliases"),
        *_neighbour(190, "inner", "PostgreSQL: audit log", "chained, append-only"),
    ]
    title = "Backend services call kms-service, which uses PostgreSQL and AWS KMS"
    return page(860, 270, title, shapes)


def _service() -> list[str]:
    steps = (
        "token, scope, limit, seal",
        "read the wallet's row",
        "kms:Decrypt, four checks",
        "sign, export or reveal",
        "commit the audit row, then answer",
    )
    return [
        box(250, 30, 260, 210),
        text(270, 58, "kms-service", "title"),
        *(text(270, 90 + 30 * n, f"{n + 1}  {step}") for n, step in enumerate(steps)),
    ]


def _neighbour(y: int, style: str, name: str, holds: str) -> list[str]:
    return [
        arrow(510, y + 25, 600, y + 25),
        box(600, y, 240, 50, style),
        text(616, y + 21, name, "title"),
        text(616, y + 38, holds, "small"),
    ]
