"""How handlers run side by side: a mix-in an engine, overriding `process_request` as mix-ins always have.

What the dispatcher asks of an engine beyond that is `portside.dispatcher.Engine`, whose own methods are the serial
engine's.
"""

from portside.engines.asynchronous import AsyncMixIn
from portside.engines.forks import ForkingMixIn
from portside.engines.green import GreenMixIn
from portside.engines.serial import SerialMixIn
from portside.engines.threads import ThreadingMixIn

__all__ = ["AsyncMixIn", "ForkingMixIn", "GreenMixIn", "SerialMixIn", "ThreadingMixIn"]
