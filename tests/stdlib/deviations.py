"""Where a face differs from the standard library's module in names, defaults or signatures, and why.

Every entry is deliberate, is told in docs/differences.md under the same name, and is checked to be still true:
`MODULE.NAME` or `MODULE.CLASS.NAME` -> the reason, in one sentence.
"""

DEVIATIONS = {
    "socketserver.TCPServer.request_queue_size": (
        "a backlog of 5 turns clients away in a burst; the kernel caps ours at net.core.somaxconn"
    ),
    "socketserver.UDPServer.max_packet_size": (
        "8,192 bytes cut longer datagrams without a word; 65,535 is more than any datagram has"
    ),
}
