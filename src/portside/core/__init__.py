"""The compiled core: the hub, streams, datagrams and sockets that wait in it."""
