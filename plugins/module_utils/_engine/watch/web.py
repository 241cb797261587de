# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One request to an address that is a secret: no message has more of it than the host.

The environment's proxies hold, as ``urllib`` knows them: http_proxy, https_proxy, no_proxy.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import os
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any
from urllib.parse import SplitResult, urlsplit

from ..repository.manifest import COLLECTION_VERSION
from ..system import files
from ..system.clock import Deadline
from ..system.errors import EngineError, TargetUnreachableError, UsageError


class _InTime(io.RawIOBase):
    """What comes from a socket, all of it in the time that the socket itself has for each piece."""

    def __init__(self, pieces: io.RawIOBase, seconds: float | None) -> None:
        super().__init__()
        self._pieces = pieces
        self._deadline = Deadline(seconds)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self._deadline.passed():
            raise TimeoutError
        return self._pieces.readinto(buffer)

    def close(self) -> None:
        self._pieces.close()
        super().close()


class _Answer(http.client.HTTPResponse):
    """One whose head and body do not come a byte now and then, for ever."""

    def __init__(self, sock: socket.socket, *given: Any, **named: Any) -> None:
        super().__init__(sock, *given, **named)
        self.fp = io.BufferedReader(_InTime(self.fp.detach(), sock.gettimeout()))


class _Connection(http.client.HTTPConnection):
    response_class = _Answer


class _SecureConnection(http.client.HTTPSConnection):
    response_class = _Answer


class _Plain(urllib.request.AbstractHTTPHandler):
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """As urllib calls it."""
        return self.do_open(_Connection, req)

    http_request = urllib.request.AbstractHTTPHandler.do_request_


class _Secure(urllib.request.AbstractHTTPHandler):
    """That of urllib reads all certificates of the host at once, also where there is no TLS."""

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """As urllib calls it; the connection checks certificate and name."""
        return self.do_open(_SecureConnection, req)

    https_request = urllib.request.AbstractHTTPHandler.do_request_


class _Redirects(urllib.request.HTTPRedirectHandler):
    """A few, and from a protected connection only to another one. What is sent as data goes nowhere else."""

    max_redirections = 3
    max_repeats = 1

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        scheme = urlsplit(newurl).scheme
        if req.data is not None or scheme not in ("https", req.type):
            return None
        # Else all that is in this answer is read, which may be endless.
        fp.close()
        return super().redirect_request(req, fp, code, msg, headers, newurl)


_PIECE_BYTES = 64 * 1024
_HANDLERS = (
    urllib.request.ProxyHandler,
    urllib.request.UnknownHandler,
    _Plain,
    _Secure,
    urllib.request.HTTPDefaultErrorHandler,
    urllib.request.HTTPErrorProcessor,
    _Redirects,
)


class _NoRedirects(_Redirects):
    """Who answers is whom the address names, and nobody else."""

    def redirect_request(self, *_given: object) -> None:
        """None: it is an error."""


def send(url: str, *, data: bytes | None = None, headers: Mapping[str, str], seconds: float) -> None:
    """GET ``url``, or POST ``data`` there; an answer of the class 2xx is success, and what else is in it is not read.

    Raises for anything else. ``seconds`` is how long the other side may take for each step, as for its answer.
    """
    with _answered(url, data, headers, seconds, _HANDLERS):
        pass


def fetch(url: str, *, seconds: float, limit_bytes: int) -> bytes:
    """What ``url`` answers, by itself and without a redirect, within ``seconds``.

    Raises for anything else, and for more than ``limit_bytes``.
    """
    content = b""
    with _answered(url, None, {}, seconds, (*_HANDLERS[:-1], _NoRedirects)) as answer:
        whole_bytes = answer.length or 0
        while len(content) <= limit_bytes and (piece := answer.read1(_PIECE_BYTES)):
            content += piece
    if len(content) > limit_bytes:
        raise TargetUnreachableError(f"{parts(url).netloc} answers with more than {files.readable(limit_bytes)}.")
    if len(content) < whole_bytes:
        raise TargetUnreachableError(f"{parts(url).netloc} did not send all of its answer.")
    return content


@contextlib.contextmanager
def _answered(
    url: str, data: bytes | None, headers: Mapping[str, str], seconds: float, handlers: Sequence[type]
) -> Iterator[http.client.HTTPResponse]:
    """The answer of the class 2xx, for the block; what fails there, too, is told without the address."""
    host = parts(url).netloc
    request = urllib.request.Request(url, data)  # noqa: S310 - http and https only
    for name, value in {"User-Agent": f"sqlite-backup/{COLLECTION_VERSION}", **headers}.items():
        # Not for where a redirect may lead.
        request.add_unredirected_header(name, value)
    opener = urllib.request.OpenerDirector()
    for each in handlers:
        opener.add_handler(each())
    try:
        with opener.open(request, timeout=seconds) as answer:
            yield answer
    except urllib.error.HTTPError as error:
        error.close()
        raise TargetUnreachableError(f"{host} answered {error.code}.", hint=_advice(error.code)) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _failure(host, error, seconds) from None


def parts(url: str) -> SplitResult:
    """The parts of an address that can be used; raises ``UsageError`` for another one."""
    try:
        found = urlsplit(url)
        known = found.scheme in ("http", "https") and bool(found.hostname) and found.port != 0
    except ValueError:
        known = False
    if not known:
        raise UsageError("its URL names no host of http or https.", hint="Write it like https://host/path.")
    if "@" in found.netloc:
        raise UsageError("its URL holds a password.", hint="Put a header Authorization into headers_file.")
    return found


def _advice(code: int) -> str:
    if code in range(300, 400):
        return "It leads to another address: name that one in url, if it is meant."
    return "See whether url, and what headers_file holds, are right." if code in range(400, 500) else ""


def _failure(host: str, error: Exception, seconds: float) -> EngineError:
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    # Before Python 3.10 it is another class.
    if isinstance(cause, (TimeoutError, socket.timeout)):
        return TargetUnreachableError(f"{host} did not answer within {seconds:g} s.")
    if isinstance(cause, ssl.SSLCertVerificationError):
        return TargetUnreachableError(f"{host} is not known to be who it says: {cause.verify_message}.")
    if isinstance(cause, ssl.SSLError):
        return TargetUnreachableError(f"{host} could not be spoken to by TLS: {cause.reason}.")
    if isinstance(cause, OSError) and cause.errno:
        said = cause.strerror if isinstance(cause, socket.gaierror) else os.strerror(cause.errno)
        return TargetUnreachableError(f"{host} could not be reached: {str(said).lower()}.")
    # Its text may quote the URL.
    return TargetUnreachableError(f"{host} did not answer as http asks for ({type(cause).__name__}).")
