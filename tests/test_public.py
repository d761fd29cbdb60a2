"""What the package exports, to the letter: a name that appears or goes is a decision, not an accident."""

import ast
import importlib
import logging
import operator
import subprocess
import sys
from pathlib import Path

import pytest

import portside
from portside import socketserver, telemetry

PUBLIC = {
    "Admin",
    "Access",
    "AsyncDatagramRequestHandler",
    "AsyncFramedRequestHandler",
    "AsyncRequestHandler",
    "AsyncStreamRequestHandler",
    "BaseRequestHandler",
    "Certificate",
    "ClientTLS",
    "ContextTLS",
    "DatagramClient",
    "DatagramRequestHandler",
    "Endpoint",
    "EndpointError",
    "Event",
    "FramedRequestHandler",
    "Limits",
    "Lock",
    "ProxyHeader",
    "ProxyHeaderError",
    "ProxyProtocol",
    "ProxyTLS",
    "Peer",
    "Queue",
    "Running",
    "Semaphore",
    "Service",
    "StreamClient",
    "StreamRequestHandler",
    "Supervisor",
    "Workers",
    "TLS",
    "TLSError",
    "await_",
    "connect",
    "embed",
    "framing",
    "offload",
    "serve",
    "sleep",
    "socketserver",
    "spawn",
    "start",
    "telemetry",
    "timeout",
}
STANDARD = {
    "BaseRequestHandler",
    "BaseServer",
    "DatagramRequestHandler",
    "ForkingMixIn",
    "ForkingTCPServer",
    "ForkingUDPServer",
    "ForkingUnixDatagramServer",
    "ForkingUnixStreamServer",
    "StreamRequestHandler",
    "TCPServer",
    "ThreadingMixIn",
    "ThreadingTCPServer",
    "ThreadingUDPServer",
    "ThreadingUnixDatagramServer",
    "ThreadingUnixStreamServer",
    "UDPServer",
    "UnixDatagramServer",
    "UnixStreamServer",
}
ADDED = {
    "AsyncDatagramRequestHandler",
    "AsyncFramedRequestHandler",
    "AsyncMixIn",
    "AsyncRequestHandler",
    "AsyncStreamRequestHandler",
    "AsyncTCPServer",
    "AsyncUDPServer",
    "AsyncUnixDatagramServer",
    "AsyncUnixStreamServer",
    "FramedRequestHandler",
    "GreenMixIn",
    "GreenTCPServer",
    "GreenUDPServer",
    "GreenUnixDatagramServer",
    "GreenUnixStreamServer",
}
EVENTS = {
    "AcceptPaused",
    "AcceptResumed",
    "CertificateRejected",
    "CertificateReloaded",
    "ConnectionClosed",
    "ConnectionOpened",
    "ConnectionRefused",
    "DatagramTruncated",
    "DatagramUnsent",
    "DrainFinished",
    "DrainStarted",
    "HandOverFailed",
    "HandOverFinished",
    "HandOverStarted",
    "HandlerFailed",
    "HubBlocked",
    "ReloadFailed",
    "ReloadFinished",
    "ReloadStarted",
    "RequestServed",
    "ScriptFailed",
    "ServerStarted",
    "ServerStopped",
    "WorkerExited",
    "WorkerFailed",
    "WorkerReady",
    "WorkerRestarted",
    "WorkerStarted",
    "WorkerWorn",
}
HEAVY = ("asyncio", "concurrent.futures", "selectors", "socket", "ssl", "portside.servers")


def ran(program: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=True)


def test_portside() -> None:
    assert set(portside.__all__) == PUBLIC
    assert set(dir(portside)) >= PUBLIC


def test_socketserver() -> None:
    assert set(socketserver.__all__) == STANDARD | ADDED
    assert all(hasattr(socketserver, name) for name in STANDARD | ADDED)


def test_telemetry() -> None:
    assert set(telemetry.__all__) == EVENTS | {
        "CloseReason",
        "Event",
        "HeaderLookup",
        "ProcessRole",
        "RefusalReason",
        "Subscription",
    } | {
        "emit",
        "subscribe",
    }
    assert {each.__name__ for each in telemetry.Event.__subclasses__()} == EVENTS


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_name_is_what_its_home_calls_so(name: str) -> None:
    home = importlib.import_module(homes_for_type_checkers()[name])
    assert getattr(portside, name) is getattr(home, name)


def homes_for_type_checkers() -> dict[str, str]:
    """Every name that the package's own source imports, and from which module."""
    tree = ast.parse(Path(portside.__file__).read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return {alias.name: str(node.module) for node in imports for alias in node.names if alias.asname is None}


def test_type_checkers_and_the_interpreter_are_told_the_same() -> None:
    told = homes_for_type_checkers()
    assert {name: told[name] for name in PUBLIC} == portside._HOMES


def test_star_import() -> None:
    names: dict[str, object] = {}
    exec("from portside import *", names)
    assert names.keys() - {"__builtins__"} == PUBLIC


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="module 'portside' has no attribute 'nope'"):
        operator.attrgetter("nope")(portside)
    with pytest.raises(ImportError):
        exec("from portside import nope")


def test_submodules_can_be_imported_from_the_package() -> None:
    assert ran("from portside import endpoints; print(endpoints.__name__)").stdout == "portside.endpoints\n"


def test_import_is_light() -> None:
    program = (
        f"import sys; before = set(sys.modules); import portside; print(*(set({HEAVY}) & set(sys.modules) - before))"
    )
    assert ran(program).stdout.split() == []


@pytest.mark.parametrize("first", ["from portside import socketserver", "import portside.socketserver as socketserver"])
def test_a_failing_handler_is_told_whatever_was_imported(first: str) -> None:
    program = f"""
{first}
import socket

def fail(*_):
    raise RuntimeError("out of cheese")

with socketserver.TCPServer(("127.0.0.1", 0), fail) as server:
    with socket.create_connection(server.server_address):
        server.handle_request()
"""
    assert "out of cheese" in ran(program).stderr


def test_logging_is_attached_once() -> None:
    subscribers = telemetry.HandlerFailed.subscribers
    importlib.import_module("portside.telemetry.logging")
    assert telemetry.HandlerFailed.subscribers == subscribers
    assert [each.__module__ for each in subscribers] == ["portside.telemetry.logging"]
    assert not logging.getLogger("portside").handlers
