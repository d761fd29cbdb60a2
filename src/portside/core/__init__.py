"""The compiled core: the hub, streams, datagrams and sockets that wait in it; and what tasks need beside them."""

from portside.core.stacks import dump, dump_on_signal

__all__ = ["dump", "dump_on_signal"]
