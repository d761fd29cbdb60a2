"""`python -m portside.http.server`: serves a folder, with every option of the newest `python -m http.server`."""

import os
import socket
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from portside.http.handler import BaseHTTPRequestHandler
from portside.http.servers import ThreadingHTTPServer, ThreadingHTTPSServer


def test(
    HandlerClass: Any = BaseHTTPRequestHandler,
    ServerClass: Any = ThreadingHTTPServer,
    protocol: str = "HTTP/1.0",
    port: int = 8000,
    bind: str | None = None,
    tls_cert: str | None = None,
    tls_key: str | None = None,
    tls_password: str | None = None,
) -> None:
    """Serve until Ctrl-C, and say where; the standard library's name for it.

    Args:
        HandlerClass: handles the requests; its `protocol_version` becomes `protocol`.
        ServerClass: its `address_family` becomes that of `bind`.
        protocol: "HTTP/1.0" or "HTTP/1.1".
        port: 0 takes a free one.
        bind: the address; None is every interface.
        tls_cert: path of a certificate; then `ServerClass` is one that takes `certfile`, `keyfile` and `password`.
        tls_key: path of its key.
        tls_password: the key's.
    """
    ServerClass.address_family, address = _best_family(bind, port)
    HandlerClass.protocol_version = protocol
    tls = {"certfile": tls_cert, "keyfile": tls_key, "password": tls_password} if tls_cert else {}
    with ServerClass(address, HandlerClass, **tls) as server:
        _announce(*server.socket.getsockname()[:2], scheme="https" if tls else "http")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            sys.stdout.write("\nKeyboard interrupt received, exiting.\n")
            sys.exit(0)


def _best_family(host: str | None, port: int) -> tuple[socket.AddressFamily, Any]:
    """The first family and address that the system has for a host and a port."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, sockaddr = found[0]
    return family, sockaddr


def _announce(host: str, port: int, *, scheme: str) -> None:
    in_url = f"[{host}]" if ":" in host else host
    sys.stdout.write(f"Serving {scheme.upper()} on {host} port {port} ({scheme}://{in_url}:{port}/) ...\n")
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line (None is this process's own) and serve."""
    parser = _parser()
    options = parser.parse_args(arguments)
    _check(parser, options)
    server = _server_class(options)
    try:
        test(
            HandlerClass=_handler_class(options),
            ServerClass=server,
            protocol=options.protocol,
            port=options.port,
            bind=options.bind,
            tls_cert=options.tls_cert,
            tls_key=options.tls_key,
            tls_password=_password(parser, options),
        )
    except OSError as error:
        parser.exit(1, f"{parser.prog}: {error.strerror or error}\n")


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="python -m portside.http.server",
        description="Serve the files of a folder over HTTP.",
        epilog="`portside http` has what more there is: uploads, engines, limits, an access log, TLS for developing.",
    )
    parser.add_argument("--cgi", action="store_true", help="run the scripts in its cgi-bin and htbin, too")
    parser.add_argument("-b", "--bind", metavar="ADDRESS", help="serve at this address (default: all interfaces)")
    parser.add_argument(
        "-d", "--directory", default=os.getcwd(), help="the folder to serve (default: the current directory)"
    )
    parser.add_argument(
        "-p",
        "--protocol",
        metavar="VERSION",
        default="HTTP/1.0",
        help="HTTP/1.1 keeps connections open (default: %(default)s)",
    )
    parser.add_argument("--tls-cert", metavar="PATH", help="serve HTTPS with this certificate chain (PEM)")
    parser.add_argument("--tls-key", metavar="PATH", help="its key, where the chain's file does not hold it")
    parser.add_argument("--tls-password-file", metavar="PATH", help="a file that holds the key's password")
    parser.add_argument(
        "-H", "--header", nargs=2, action="append", metavar=("NAME", "VALUE"), help="a header for every answer"
    )
    parser.add_argument("--content-type", metavar="TYPE", help="of files whose name does not tell")
    parser.add_argument("port", default=8000, type=int, nargs="?", help="0 takes a free one (default: %(default)s)")
    return parser


def _check(parser: ArgumentParser, options: Namespace) -> None:
    if not options.tls_cert and (options.tls_key or options.tls_password_file):
        parser.error("--tls-key and --tls-password-file need --tls-cert: name the certificate too")
    if not os.path.isdir(options.directory):
        parser.error(f"--directory {options.directory!r} is not accepted; accepted is a folder that exists")
    if options.protocol not in _PROTOCOLS:
        parser.error(f"--protocol {options.protocol!r} is not accepted; accepted is {' or '.join(_PROTOCOLS)}")


_PROTOCOLS = ("HTTP/1.0", "HTTP/1.1")


def _password(parser: ArgumentParser, options: Namespace) -> str | None:
    """The key's password, without a line end; OpenSSL asks on the terminal where there is none and it needs one."""
    if options.tls_password_file is None:
        return None
    try:
        return Path(options.tls_password_file).read_text(encoding="utf-8").strip()
    except OSError as error:
        parser.error(f"the password file {options.tls_password_file!r} cannot be read: {error.strerror}")


def _handler_class(options: Namespace) -> type[BaseHTTPRequestHandler]:
    """A class of its own, so that what `test` sets on it stays here."""
    from portside.http.cgi.handler import CGIHTTPRequestHandler
    from portside.http.files.handler import SimpleHTTPRequestHandler

    base = CGIHTTPRequestHandler if options.cgi else SimpleHTTPRequestHandler
    content_type = {"default_content_type": options.content_type} if options.content_type else {}
    return type(base.__name__, (base,), content_type)


def _server_class(options: Namespace) -> type[ThreadingHTTPServer]:
    """With threads, on both families where the address is every interface, and serving the folder."""
    base: Any = ThreadingHTTPSServer if options.tls_cert else ThreadingHTTPServer
    arguments: dict[str, Any] = {"directory": options.directory}
    if options.header:
        arguments["extra_response_headers"] = [tuple(pair) for pair in options.header]
    return type(base.__name__, (base,), {"dual_stack": True, "handler_args": arguments})
