"""What Python code sees of the usual request; requests.pyx documents it, and replies.pyi says why it is empty."""

from portside.core.connecting import QuickConnections

class QuickRequests(QuickConnections): ...

def stand_before(handler: type, event: type) -> None: ...
