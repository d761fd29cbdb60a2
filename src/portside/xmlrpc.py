"""XML-RPC: the standard library's `xmlrpc.server` on our servers. Change one import line.

    from portside.xmlrpc import SimpleXMLRPCServer

How calls are found and marshalled is the standard library's business, and its dispatchers are used as they are, for
HTTP has no part in them. The servers, and the handler that speaks HTTP, are ours.
"""

import re
import traceback
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any
from xml.parsers import expat
from xmlrpc.client import Fault, dumps, gzip_decode, gzip_encode
from xmlrpc.server import (
    CGIXMLRPCRequestHandler,
    DocCGIXMLRPCRequestHandler,
    ServerHTMLDoc,
    SimpleXMLRPCDispatcher,
    XMLRPCDocGenerator,
    list_public_methods,
    resolve_dotted_attribute,
)

from portside.http.handler import BaseHTTPRequestHandler
from portside.servers import TCPServer

__all__ = [
    "CGIXMLRPCRequestHandler",
    "DocCGIXMLRPCRequestHandler",
    "DocXMLRPCRequestHandler",
    "DocXMLRPCServer",
    "MultiPathXMLRPCServer",
    "ServerHTMLDoc",
    "SimpleXMLRPCDispatcher",
    "SimpleXMLRPCRequestHandler",
    "SimpleXMLRPCServer",
    "XMLRPCDocGenerator",
    "list_public_methods",
    "resolve_dotted_attribute",
]

# Bytes of a call: the standard library's own bound for one that was compressed.
LARGEST_CALL = 20 << 20


class SimpleXMLRPCRequestHandler(BaseHTTPRequestHandler):
    """Takes each POST for a call, and has the server dispatch it.

    Attributes:
        rpc_paths: the URL paths that are answered; empty for all.
        encode_threshold: bytes from which on an answer is compressed for a client that takes it; None never.
        max_call_size: bytes of a call, compressed or not; a longer one is answered with an error.
    """

    rpc_paths: tuple[str, ...] = ("/", "/RPC2", "/pydoc.css")
    encode_threshold: int | None = 1400  # what fits one packet is not made smaller
    max_call_size: int = LARGEST_CALL
    wbufsize: int = -1
    disable_nagle_algorithm: bool = True
    aepattern = re.compile(r"\s*([^\s;]+)\s*(;\s*q\s*=\s*([0-9\.]+))?", re.IGNORECASE)

    def accept_encodings(self) -> dict[str, float]:
        """The codings that the client takes, each with its weight."""
        found: dict[str, float] = {}
        for each in self.headers.get("Accept-Encoding", "").split(","):
            if matched := self.aepattern.match(each):
                found[matched[1]] = _weight(matched[3])
        return found

    def is_rpc_path_valid(self) -> bool:
        """Whether the request's path is one of `rpc_paths`. May be overridden."""
        return not self.rpc_paths or self.path in self.rpc_paths

    def do_POST(self) -> None:
        """Answer a call."""
        if not self.is_rpc_path_valid():
            self.report_404()
            return
        try:
            data = self._call()
            if data is None:
                return  # the answer has been sent
            # A `_dispatch` of the handler's own is how it was done before there were dispatchers.
            answer = self.server._marshaled_dispatch(data, getattr(self, "_dispatch", None), self.path)
        except OSError:
            raise  # the client is gone
        except Exception as error:
            self._report_failure(error)
        else:
            self._send_answer(answer)

    def _call(self) -> bytes | None:
        length = self.headers["content-length"]
        limit = self.max_call_size
        if length is None and self.headers["transfer-encoding"] is None:
            self.send_error(HTTPStatus.LENGTH_REQUIRED)
            return None
        data = self.rfile.read(limit + 1 if length is None else min(int(length), limit + 1))
        if len(data) > limit:
            self.send_error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return None
        return self.decode_request_content(data)

    def decode_request_content(self, data: bytes) -> bytes | None:
        """A call's body as XML; None when it cannot be had, and an answer that says so was sent."""
        encoding = self.headers.get("content-encoding", "identity").lower()
        if encoding == "identity":
            return data
        if encoding != "gzip":
            self._decline(HTTPStatus.NOT_IMPLEMENTED, f"encoding {encoding!r} not supported")
            return None
        try:
            return gzip_decode(data, self.max_call_size)
        except (EOFError, ValueError):
            self._decline(HTTPStatus.BAD_REQUEST, "error decoding gzip content")
            return None

    def _decline(self, status: HTTPStatus, reason: str) -> None:
        self.send_response(status, reason)
        self.send_header("Content-length", "0")
        self.end_headers()

    def _report_failure(self, error: Exception) -> None:
        """An error that no dispatcher has made a fault of; what it was is told only to who debugs the server."""
        self.send_response(HTTPStatus.INTERNAL_SERVER_ERROR)
        if getattr(self.server, "_send_traceback_header", False):
            self.send_header("X-exception", _one_line(str(error)))
            self.send_header("X-traceback", _one_line(traceback.format_exc()))
        self.send_header("Content-length", "0")
        self.end_headers()

    def _send_answer(self, answer: bytes) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-type", "text/xml")
        threshold = self.encode_threshold
        if threshold is not None and len(answer) > threshold and self.accept_encodings().get("gzip", 0):
            answer = gzip_encode(answer)
            self.send_header("Content-Encoding", "gzip")
        self._send_body(answer)

    def _send_body(self, body: bytes) -> None:
        self.send_header("Content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def report_404(self) -> None:
        """Answer that there is nothing at this path. May be overridden."""
        self.send_response(HTTPStatus.NOT_FOUND)
        self.send_header("Content-type", "text/plain")
        self._send_body(b"No such page")

    def log_request(self, code: Any = "-", size: Any = "-") -> None:
        """Log a request, if the server was made with `logRequests`."""
        if self.server.logRequests:
            super().log_request(code, size)


def _weight(text: str | None) -> float:
    try:
        return float(text) if text else 1.0
    except ValueError:
        return 0.0


def _one_line(text: str) -> str:
    """Text as a header's value: the standard library's form, with line ends that cannot end the header."""
    return text.encode("ascii", "backslashreplace").decode().replace("\r", "\\r").replace("\n", "\\n")


class _Declares(Exception):
    """The document has a document type declaration."""


class _RootReached(Exception):
    """The first element has begun: nothing can be declared any more."""


def _declares_entities(data: bytes) -> bool:
    """Whether a document has a declaration, whose entities could expand to any size; calls have none (XML-RPC)."""
    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = _raise(_Declares)
    parser.StartElementHandler = _raise(_RootReached)
    try:
        parser.Parse(data, True)
    except _Declares:
        return True
    except (_RootReached, expat.ExpatError):  # what is no XML at all is told where it is parsed in full
        return False
    return False


def _raise(kind: type[Exception]) -> Callable[..., None]:
    def handler(*_: object) -> None:
        raise kind

    return handler


class SimpleXMLRPCServer(TCPServer, SimpleXMLRPCDispatcher):
    """Serves functions and the methods of one instance as XML-RPC.

    Args:
        addr: where to listen, `(host, port)`.
        requestHandler: the handler's class.
        logRequests: log each request as the handler logs.
        allow_none: let None be marshalled, which XML-RPC does not know.
        encoding: of the answers; UTF-8 where nothing is said.
        bind_and_activate: as for `TCPServer`.
        use_builtin_types: hand dates and binary data to functions as `datetime` and `bytes`.
    """

    allow_reuse_address: bool = True
    _send_traceback_header: bool = False  # for debugging: it shows clients what went wrong

    def __init__(
        self,
        addr: Any,
        requestHandler: type[SimpleXMLRPCRequestHandler] = SimpleXMLRPCRequestHandler,
        logRequests: bool = True,
        allow_none: bool = False,
        encoding: str | None = None,
        bind_and_activate: bool = True,
        use_builtin_types: bool = False,
    ) -> None:
        self.logRequests = logRequests
        SimpleXMLRPCDispatcher.__init__(self, allow_none, encoding, use_builtin_types)
        TCPServer.__init__(self, addr, requestHandler, bind_and_activate)

    def _marshaled_dispatch(self, data: Any, dispatch_method: Any = None, path: Any = None) -> Any:
        """Answer a call, from XML to XML: the standard library's hook."""
        if _declares_entities(data):
            return _fault(self, "a call has no document type declaration")
        return super()._marshaled_dispatch(data, dispatch_method, path)


class MultiPathXMLRPCServer(SimpleXMLRPCServer):
    """Several dispatchers at one port, each at its own URL path, which the handler's `rpc_paths` has to let through.

    Its arguments are `SimpleXMLRPCServer`'s.

    Attributes:
        dispatchers: by path.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.dispatchers: dict[str, SimpleXMLRPCDispatcher] = {}

    def add_dispatcher(self, path: str, dispatcher: SimpleXMLRPCDispatcher) -> SimpleXMLRPCDispatcher:
        """Have a dispatcher answer the calls at a path; returns it."""
        self.dispatchers[path] = dispatcher
        return dispatcher

    def get_dispatcher(self, path: str) -> SimpleXMLRPCDispatcher:
        """The dispatcher of a path.

        Raises:
            KeyError: there is none.
        """
        return self.dispatchers[path]

    def _marshaled_dispatch(self, data: Any, dispatch_method: Any = None, path: Any = None) -> Any:
        if _declares_entities(data):
            return _fault(self, "a call has no document type declaration")
        try:
            return self.dispatchers[path]._marshaled_dispatch(data, dispatch_method, path)
        except Exception as error:  # a dispatcher has made a fault of what its functions raise
            return _fault(self, f"{type(error)}:{error}")


def _fault(server: SimpleXMLRPCServer, text: str) -> bytes:
    answer = dumps(Fault(1, text), encoding=server.encoding, allow_none=server.allow_none)
    return answer.encode(server.encoding, "xmlcharrefreplace")


class DocXMLRPCRequestHandler(SimpleXMLRPCRequestHandler):
    """Answers a GET with the documentation of what can be called."""

    def _get_css(self, url: str) -> bytes:
        import pydoc_data

        return Path(pydoc_data.__path__[0], "_pydoc.css").read_bytes()

    def do_GET(self) -> None:
        """Send the documentation, or its style sheet."""
        if not self.is_rpc_path_valid():
            self.report_404()
            return
        if self.path.endswith(".css"):
            kind, body = "text/css", self._get_css(self.path)
        else:
            kind, body = "text/html", self.server.generate_html_documentation().encode()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", f"{kind}; charset=UTF-8")
        self._send_body(body)


class DocXMLRPCServer(SimpleXMLRPCServer, XMLRPCDocGenerator):
    """`SimpleXMLRPCServer` with documentation for a browser; its arguments are the same."""

    def __init__(
        self,
        addr: Any,
        requestHandler: type[SimpleXMLRPCRequestHandler] = DocXMLRPCRequestHandler,
        *args: Any,
        **kw: Any,
    ) -> None:
        SimpleXMLRPCServer.__init__(self, addr, requestHandler, *args, **kw)
        XMLRPCDocGenerator.__init__(self)
