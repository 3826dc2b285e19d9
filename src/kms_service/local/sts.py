"""The part of AWS STS that the commands use: whose credentials these are."""

from urllib.parse import parse_qs
from xml.sax.saxutils import escape

_NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"


def identify(form: bytes, account: str, access_key: str, request_id: str) -> tuple[int, bytes]:
    """Answer GetCallerIdentity with status and XML: a user named like the access key. Refuse all else.

    Args:
        form: the request's body.
        account: its number, 12 digits.
        access_key: of the credentials that signed it; empty when none did.
        request_id: what the answer carries.
    """
    action = parse_qs(form.decode("latin-1")).get("Action", [""])[0]
    if not access_key:
        return _refuse("MissingAuthenticationToken", "Request is missing Authentication Token")
    if action != "GetCallerIdentity":
        return _refuse("InvalidAction", f"The stand-in has no {action}.")
    user = escape(access_key)
    return 200, (
        f'<GetCallerIdentityResponse xmlns="{_NAMESPACE}"><GetCallerIdentityResult>'
        f"<Arn>arn:aws:iam::{account}:user/{user}</Arn><UserId>{user}</UserId><Account>{account}</Account>"
        f"</GetCallerIdentityResult><ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata>"
        "</GetCallerIdentityResponse>"
    ).encode()


def _refuse(code: str, message: str) -> tuple[int, bytes]:
    return 400, (
        f'<ErrorResponse xmlns="{_NAMESPACE}"><Error><Type>Sender</Type><Code>{code}</Code>'
        f"<Message>{escape(message)}</Message></Error></ErrorResponse>"
    ).encode()
