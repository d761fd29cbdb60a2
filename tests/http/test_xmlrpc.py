"""XML-RPC on our servers, called by the standard library's client."""

import gzip
import http.client
import inspect
import xmlrpc.client
import xmlrpc.server
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from portside import xmlrpc as ours
from portside.engines import ThreadingMixIn
from portside.http.handler import BaseHTTPRequestHandler
from portside.servers import TCPServer
from tests.conftest import DEADLINE
from tests.http.kit import running

pytestmark = pytest.mark.usefixtures("no_leaks")

CALL = xmlrpc.client.dumps((2, 3), "add").encode()


def add(first: Any, second: Any) -> Any:
    """The sum."""
    return first + second


def fail() -> None:
    raise LookupError("no cheese")


@contextmanager
def serving(server_class: type[Any] = ours.SimpleXMLRPCServer, **options: Any) -> Iterator[Any]:
    """A server with threads, and the functions above."""
    threading_class = type("Threading", (ThreadingMixIn, server_class), {"daemon_threads": True})
    server = threading_class(("127.0.0.1", 0), **{"logRequests": False, **options})
    server.register_function(add)
    server.register_function(fail)
    with running(server):
        yield server


def proxy(server: Any, path: str = "/RPC2", **options: Any) -> xmlrpc.client.ServerProxy:
    return xmlrpc.client.ServerProxy(f"http://127.0.0.1:{server.server_address[1]}{path}", **options)


def post(server: Any, body: Any, path: str = "/RPC2", **headers: str) -> tuple[int, bytes, Any]:
    client = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=DEADLINE)
    client.request("POST", path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = client.getresponse()
    found = answer.status, answer.read(), answer.headers
    client.close()
    return found


# The face


def test_names_are_the_standard_librarys() -> None:
    theirs = {
        name
        for name, found in vars(xmlrpc.server).items()
        if getattr(found, "__module__", None) == "xmlrpc.server" and not name.startswith("_")
    }
    assert theirs == set(ours.__all__)


@pytest.mark.parametrize("name", [name for name in ours.__all__ if name.endswith(("Server", "Handler"))])
def test_classes_are_theirs_with_our_http(name: str) -> None:
    theirs, mine = getattr(xmlrpc.server, name), getattr(ours, name)
    assert {each for each in vars(theirs) if not each.startswith("__")} - set(dir(mine)) == set()
    if "CGI" not in name:
        assert issubclass(mine, (TCPServer, BaseHTTPRequestHandler))


def test_arguments_are_theirs() -> None:
    wanted = inspect.signature(xmlrpc.server.SimpleXMLRPCServer.__init__).parameters
    assert list(inspect.signature(ours.SimpleXMLRPCServer.__init__).parameters) == list(wanted)


# Calls


def test_calls() -> None:
    with serving() as server, proxy(server) as client:
        assert client.add(2, 3) == 5
        assert client.add("grüß ", "euch") == "grüß euch"
        with pytest.raises(xmlrpc.client.Fault, match="no cheese"):
            client.fail()
        with pytest.raises(xmlrpc.client.Fault, match="is not supported"):
            client.missing()


def test_connection_goes_on_in_http_1_1() -> None:
    handler = type("Handler", (ours.SimpleXMLRPCRequestHandler,), {"protocol_version": "HTTP/1.1"})
    with serving(requestHandler=handler) as server, proxy(server) as client:
        assert [client.add(number, 1) for number in range(3)] == [1, 2, 3]


def test_introspection_and_several_calls_in_one() -> None:
    with serving() as server, proxy(server) as client:
        server.register_introspection_functions()
        server.register_multicall_functions()
        assert server.system_listMethods()[:2] == ["add", "fail"]
        assert client.system.listMethods() == server.system_listMethods()
        assert client.system.methodHelp("add") == "The sum."
        calls = xmlrpc.client.MultiCall(client)
        calls.add(1, 2)
        calls.add(3, 4)
        first, second = (calls()[number] for number in range(2))
        assert (first, second) == (3, 7)


def test_several_paths() -> None:
    handler = type("Handler", (ours.SimpleXMLRPCRequestHandler,), {"rpc_paths": ("/a", "/b")})
    with serving(ours.MultiPathXMLRPCServer, requestHandler=handler) as server:
        dispatcher = server.add_dispatcher("/a", ours.SimpleXMLRPCDispatcher())
        dispatcher.register_function(lambda: "it is a", "which")
        assert server.get_dispatcher("/a") is dispatcher
        with proxy(server, "/a") as client:
            assert client.which() == "it is a"
        with proxy(server, "/b") as client, pytest.raises(xmlrpc.client.Fault, match="KeyError"):
            client.which()
        with proxy(server, "/c") as client, pytest.raises(xmlrpc.client.ProtocolError, match="404"):
            client.which()


def test_documentation() -> None:
    with serving(ours.DocXMLRPCServer) as server:
        client = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=DEADLINE)
        for path, status, text in (
            ("/", 200, b"The&nbsp;sum."),
            ("/pydoc.css", 200, b"font"),
            ("/other", 404, b"No such"),
        ):
            client.request("GET", path)
            answer = client.getresponse()
            assert (answer.status, text in answer.read()) == (status, True)
        client.close()


def test_large_answers_are_compressed() -> None:
    with serving() as server:
        big = xmlrpc.client.dumps(("x" * 5000, ""), "add")
        assert post(server, big, Accept_Encoding="gzip;q=0.5")[2]["Content-Encoding"] == "gzip"
        assert post(server, big, Accept_Encoding="gzip;q=0")[2]["Content-Encoding"] is None
        assert post(server, big, Accept_Encoding="gzip;q=.")[2]["Content-Encoding"] is None


# What clients may not do


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_entities_are_refused(encoding: str) -> None:
    laughs = "".join(f'<!ENTITY l{number} "{f"&l{number - 1};" * 10}">' for number in range(1, 10))
    text = f'<?xml version="1.0" encoding="{encoding}"?><!DOCTYPE a [<!ENTITY l0 "ha">{laughs}]><a>&l9;</a>'
    with serving() as server:
        status, body, _ = post(server, text.encode(encoding))
    assert status == 200
    with pytest.raises(xmlrpc.client.Fault, match="no document type declaration"):
        xmlrpc.client.loads(body)


@pytest.mark.parametrize("body", [b"", b"<", b"spam", b"<?xml version='1.0'?><a/>", b"\xff\xfe"])
def test_what_is_no_call_is_a_fault(body: bytes) -> None:
    with serving() as server:
        status, answer, _ = post(server, body)
        assert status == 200
        with pytest.raises(xmlrpc.client.Fault):
            xmlrpc.client.loads(answer)


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (bytes(201), {}, 413),
        (iter([bytes(120), bytes(120)]), {}, 413),
        (iter([CALL[:9], CALL[9:90]]), {}, 200),
        (gzip.compress(CALL, mtime=0), {"Content_Encoding": "gzip"}, 200),
        (gzip.compress(CALL, mtime=0)[:30], {"Content_Encoding": "gzip"}, 400),
        (b"no gzip", {"Content_Encoding": "gzip"}, 400),
        (b"x", {"Content_Encoding": "br"}, 501),
    ],
)
def test_bodies_of_every_kind(body: Any, headers: dict[str, str], status: int) -> None:
    attributes = {"protocol_version": "HTTP/1.1", "max_call_size": 200}
    handler = type("Handler", (ours.SimpleXMLRPCRequestHandler,), attributes)
    with serving(requestHandler=handler) as server:
        assert post(server, body, **headers)[0] == status


def test_bug_in_a_server_is_shown_only_for_debugging() -> None:
    class Broken(ours.SimpleXMLRPCServer):
        def _marshaled_dispatch(self, *_: Any) -> Any:
            raise LookupError("no\ncheese")

    for debugging, shown in ((False, None), (True, "no\\ncheese")):
        with serving(type("Server", (Broken,), {"_send_traceback_header": debugging})) as server:
            status, _, headers = post(server, CALL)
        assert (status, headers["X-exception"]) == (500, shown)
        assert (headers["X-traceback"] is not None) is debugging


def test_requests_are_logged_if_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    for asked in (False, True):
        with serving(logRequests=asked) as server, proxy(server) as client:
            client.add(1, 2)
        assert ("POST /RPC2" in capsys.readouterr().err) is asked


def test_as_a_cgi_script(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    handler = ours.CGIXMLRPCRequestHandler()
    handler.register_function(add)
    handler.handle_request(CALL.decode())
    assert xmlrpc.client.loads(capsysbinary.readouterr().out.partition(b"\n\n")[2])[0] == (5,)
