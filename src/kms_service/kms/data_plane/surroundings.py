"""Finds out where KMS is, which certificates verify it, and whether to go through a proxy.

All of it is read once, from AWS's and the system's own variables, in a thread, since reading files is slow.
"""

import os
import ssl
from dataclasses import dataclass, field
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from kms_service.loopback import is_loopback


@dataclass(frozen=True, slots=True)
class Surroundings:
    """How to reach an endpoint: its URL, what verifies it, and a proxy's URL, maybe with a password."""

    url: str
    tls: ssl.SSLContext | None
    proxy: str | None = field(repr=False)


class Unreachable(Exception):
    """KMS cannot be reached as things are configured; `name` says why."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def look(endpoint: str | None, region: str) -> Surroundings:
    """Find out how to reach KMS. It blocks: run it in a thread.

    Args:
        endpoint: the settings' URL; None for AWS's own endpoint of the Region.
        region: AWS's name for it.

    Raises:
        Unreachable: AWS's configuration, the proxy or the bundle of certificates cannot be used.
    """
    url = endpoint or regional_endpoint(region)
    secure = urlsplit(url).scheme == "https"
    return Surroundings(url, _tls() if secure else None, proxy_for(url))


def regional_endpoint(region: str) -> str:
    """AWS's endpoint for the Region by botocore's rules, which honour AWS_USE_FIPS_ENDPOINT and the like.

    Raises:
        Unreachable: AWS's configuration is wrong, or there is no endpoint.
    """
    from botocore.endpoint_provider import EndpointProvider  # noqa: PLC0415 # 10 MB that a set endpoint saves
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415 # as above
    from botocore.session import Session  # noqa: PLC0415 # as above

    try:
        session = Session()
        loader = session.get_component("data_loader")
        rules = loader.load_service_model("kms", "endpoint-rule-set-1")
        provider = EndpointProvider(rules, loader.load_data("partitions"))
        found = provider.resolve_endpoint(
            Region=region,
            UseFIPS=bool(session.get_config_variable("use_fips_endpoint")),
            UseDualStack=bool(session.get_config_variable("use_dualstack_endpoint")),
        )
    except (BotoCoreError, OSError, ValueError) as error:
        raise Unreachable(type(error).__name__) from None
    return str(found.url)


def proxy_for(url: str) -> str | None:
    """The proxy for this URL by HTTPS_PROXY and NO_PROXY: an http URL, maybe with a password; None for none.

    Raises:
        Unreachable: HTTPS_PROXY is not an http URL.
    """
    if not may_use_proxy(url) or proxy_bypass(urlsplit(url).hostname or ""):
        return None
    proxies = getproxies()
    found = proxies.get("https") or proxies.get("all")
    if found is None:
        return None
    proxy = found if "://" in found else f"http://{found}"
    if not proxy.startswith("http://"):
        raise Unreachable("HTTPS_PROXY is no http:// URL")
    return proxy


def may_use_proxy(url: str) -> bool:
    """Whether a proxy may be used: not for plain http, where it would see DEKs, nor for this machine."""
    parts = urlsplit(url)
    return parts.scheme == "https" and not is_loopback(parts.hostname or "")


def _tls() -> ssl.SSLContext:
    # Python's defaults verify the host name and the certificates, and require TLS 1.2 or later.
    try:
        return ssl.create_default_context(cafile=os.environ.get("AWS_CA_BUNDLE") or None)
    except OSError:  # includes ssl.SSLError: there is no certificate in it
        raise Unreachable("AWS_CA_BUNDLE cannot be used") from None
