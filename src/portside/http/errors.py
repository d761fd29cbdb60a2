"""What a client did wrong: an exception with the status that tells it so."""

import errno
from http import HTTPStatus


class HTTPError(Exception):
    """A request that cannot be served as it was sent.

    A handler may raise it too, at any moment: the client is answered with `send_error(status, message, explain)` where
    nothing was sent before, and its connection closes.

    Args:
        status: of the answer, 400 to 599.
        message: the reason phrase; None is the status's own.
        explain: a longer text for the body of the answer; None is the status's own.
    """

    def __init__(self, status: int, message: str | None = None, explain: str | None = None) -> None:
        super().__init__(status, message, explain)
        self.status = HTTPStatus(status)
        self.message = message
        self.explain = explain

    def __str__(self) -> str:
        return f"{self.status.value} {self.message or self.status.phrase}"


class RequestTimeout(HTTPError, TimeoutError):
    """The client did not send in time (RFC 9110, 15.5.9)."""

    def __init__(self, message: str) -> None:
        super().__init__(HTTPStatus.REQUEST_TIMEOUT, None, message)


class IncompleteRequest(HTTPError, ConnectionResetError):
    """The client left in the middle of its request (RFC 9112, 8)."""

    def __init__(self, message: str) -> None:
        super().__init__(HTTPStatus.BAD_REQUEST, "Incomplete request", message)
        self.errno = errno.ECONNRESET
