"""TLS on a listener: `server.socket = context.wrap_socket(server.socket, server_side=True)`, as tutorials have it.

Such a listener shakes hands while it accepts, where one silent client holds up everybody. Here it only accepts, and
the handshake is made where the handler runs.
"""

import ssl
from typing import Any

from portside.policy.handshakes import TLSGate, counted, turned_away

SECONDS = 10.0  # for a handshake where no limit says so, as of `HTTPSServer`


class OwedHandshakes(TLSGate):
    """Makes the handshakes that a listener no longer makes; its context is its own."""

    def __init__(self) -> None:
        super().__init__(lambda server: server.socket.context, lambda _: SECONDS)

    def admit(self, server: Any, request: Any, client_address: Any) -> tuple[Any, Any]:
        """Shake hands, where the request is one of the listener's: `get_request` may be a program's own."""
        if isinstance(request, ssl.SSLSocket):
            with counted(server, request):
                _shake_hands(request, self.patience(server))
        return request, client_address


def _shake_hands(tls: ssl.SSLSocket, seconds: float) -> None:
    usual = tls.gettimeout()
    try:
        tls.settimeout(seconds)
        tls.do_handshake()
        tls.settimeout(usual)
    except OSError as error:
        raise turned_away(error, None) from error


def take_over(listener: Any) -> bool:
    """Have a listener accept without shaking hands; True where it would have done so."""
    tls: Any = listener  # typeshed does not know that accept() looks at an attribute
    owes = isinstance(listener, ssl.SSLSocket) and bool(tls.do_handshake_on_connect)
    if owes:
        tls.do_handshake_on_connect = False
    return owes
