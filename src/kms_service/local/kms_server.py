"""The KMS stand-in as a program: moto's KMS over HTTP, with keys that last.

A call that changed a key is answered only after the change is on the disk.
`python -m kms_service.local.kms_server --keys FILE` prints its URL when it serves.
"""

import argparse
import contextlib
import io
import json
import re
import signal
import sys
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.kms.models import KmsBackend, kms_backends
from moto.moto_server.werkzeug_app import create_backend_app
from werkzeug import Request, Response
from werkzeug.serving import WSGIRequestHandler, make_server

from kms_service.local import kms_rules, kms_state
from kms_service.local.errors import LocalError
from kms_service.local.files import exclusive, write_private

_CHANGES_NOTHING = ("Encrypt", "Decrypt", "ReEncrypt", "Generate", "Describe", "Get", "List")
_REGION = re.compile(r"Credential=[^/]+/\d+/([a-z0-9-]+)/kms/")


@dataclass(frozen=True, slots=True)
class _Call:
    action: str
    parameters: dict[str, Any]
    environ: dict[str, Any]
    backend: KmsBackend


def _call(request: Request, region: str) -> _Call:
    action = request.headers.get("X-Amz-Target", "").removeprefix("TrentService.")
    parameters = kms_rules.completed(action, json.loads(request.get_data()))
    return _Call(action, parameters, request.environ, kms_backends[DEFAULT_ACCOUNT_ID][region])


class KmsStandIn:
    """A WSGI application that speaks the KMS JSON protocol and keeps its keys in one file."""

    def __init__(self, keys: Path) -> None:
        """Load `keys`, which need not exist yet.

        Raises:
            LocalError: the file is not one that a stand-in wrote.
        """
        self._keys = keys
        self._changing = threading.Lock()
        self._moto = create_backend_app("kms")
        self._kept = keys.read_text() if keys.exists() else kms_state.dump()
        try:
            kms_state.restore(self._kept)
        except LocalError as error:
            raise LocalError(f"{keys} cannot be used: {error}") from None

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer one request."""
        return self._answer(Request(environ))(environ, start_response)

    def _answer(self, request: Request) -> Response:
        if request.path == "/livez":
            return Response("ok")
        region = _REGION.search(request.headers.get("Authorization", ""))
        if region is None:
            return _error("MissingAuthenticationTokenException", "The request is not signed for KMS.")
        call = _call(request, region.group(1))
        if call.action.startswith(_CHANGES_NOTHING):
            return self._perform(call)
        with self._changing:
            return self._change(call)

    def _change(self, call: _Call) -> Response:
        response = self._perform(call)
        changed = kms_state.dump()
        try:
            write_private(self._keys, changed)
        except OSError as error:
            kms_state.restore(self._kept)  # what is not on the disk must not be used
            message = f"The key file cannot be written: {error.strerror}."
            return _error("KMSInternalException", message, status=500)
        self._kept = changed
        return response

    def _perform(self, call: _Call) -> Response:
        if (refused := kms_rules.refusal(call.action, call.parameters, call.backend)) is not None:
            return _error(refused.code, refused.message)
        if kms_rules.ignores_ciphertext(call.parameters):
            return _would_have_succeeded()
        response = self._ask_moto(call)
        if response.status_code != 200:  # noqa: PLR2004 - HTTP's own number
            return response
        if call.parameters.get("DryRun"):
            return _would_have_succeeded()
        answer = json.loads(response.get_data()) or {}
        return _json(kms_rules.amended(call.action, call.parameters, answer, call.backend), status=200)

    def _ask_moto(self, call: _Call) -> Response:
        body = json.dumps(call.parameters).encode()
        environ = {**call.environ, "wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        return Response.from_app(self._moto, environ)


def _json(content: dict[str, Any], status: int) -> Response:
    return Response(json.dumps(content), status=status, content_type="application/x-amz-json-1.1")


def _would_have_succeeded() -> Response:
    return _error("DryRunOperationException", "The request would have succeeded.", status=412)


def _error(code: str, message: str, status: int = 400) -> Response:
    return _json({"__type": code, "message": message}, status)


class _QuietHandler(WSGIRequestHandler):
    """Logs nothing: the stand-in's only output is the line its starter waits for."""

    def log(self, type: str, message: str, *args: object) -> None:  # noqa: A002 - werkzeug's name
        """Log nothing."""


def serve(keys: Path, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT; print the URL as the only line once connections are accepted.

    Raises:
        LocalError: another process uses the key file, or it is damaged.
    """
    keys.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    with exclusive(keys.with_suffix(".lock")):
        server = make_server(host, port, KmsStandIn(keys), threaded=True, request_handler=_QuietHandler)
        for stop in (signal.SIGTERM, signal.SIGINT):
            signal.signal(stop, lambda *_: threading.Thread(target=server.shutdown).start())
        print(f"http://{host}:{server.server_port}", flush=True)  # noqa: T201 - the starter reads it
        with contextlib.closing(server.socket):
            server.serve_forever(poll_interval=0.05)


def main() -> None:
    """Run the stand-in as told on the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m kms_service.local.kms_server",
        description="AWS KMS for laptops and tests: symmetric keys that last, in one file.",
    )
    parser.add_argument("--keys", type=Path, required=True, help="the file that keeps the keys, mode 0600")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port to listen on (a free one)")
    options = parser.parse_args()
    try:
        serve(options.keys, options.host, options.port)
    except (LocalError, OSError) as error:
        sys.exit(f"kms stand-in: {error}")


if __name__ == "__main__":
    main()
