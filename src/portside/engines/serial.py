"""The serial engine: a handler runs in the accepting thread, one client at a time.

`TCPServer` and its kin are that engine already, with the standard library's rule that `sys.exit()` in a handler ends
the server: they share a thread. The mix-in keeps a handler's exit to the handler, as all other engines do.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from portside.servers import BaseServer as _Server
else:
    _Server = object


class HandlerExited(Exception):
    """A handler called `sys.exit()`: its own work is over, the server's is not."""


class SerialMixIn(_Server):
    """Mix-in: `sys.exit()` in a handler is reported like any exception, and ends no more than the handler."""

    def finish_request(self, request: Any, client_address: Any) -> Any:
        """Handle the request by calling `RequestHandlerClass`."""
        try:
            return super().finish_request(request, client_address)
        except SystemExit as error:
            raise HandlerExited(f"the handler called sys.exit({error.code!r})") from error
