# cython: binding=False
"""Addresses of the kernel as Python writes them, and datagrams in batches.

A server's socket receives what is there with one system call and hands it out datagram by datagram. Answers to the
senders of a batch gather while handlers run one after the other, and leave with one system call before the hub asks the
kernel for more.
"""

import os

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_SetFromErrno
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

from portside.core.hub cimport Channel, Hub, hub_here
from portside.core.linux cimport EPOLLOUT


cdef extern from "<sys/socket.h>" nogil:
    int recvmmsg(int fd, mmsghdr *messages, unsigned int count, int flags, void *timeout)
    int sendmmsg(int fd, mmsghdr *messages, unsigned int count, int flags)

    enum:
        MSG_DONTWAIT
        MSG_NOSIGNAL


cdef extern from "<netinet/in.h>" nogil:
    struct in_addr:
        uint32_t s_addr

    struct in6_addr:
        uint8_t s6_addr[16]

    struct sockaddr_in:
        uint16_t sin_port
        in_addr sin_addr

    struct sockaddr_in6:
        uint16_t sin6_port
        uint32_t sin6_flowinfo
        in6_addr sin6_addr
        uint32_t sin6_scope_id

    uint16_t ntohs(uint16_t)
    uint32_t ntohl(uint32_t)

    enum:
        AF_INET
        AF_INET6
        AF_UNIX


cdef extern from "<sys/un.h>" nogil:
    struct sockaddr_un:
        char sun_path[108]


cdef extern from "<arpa/inet.h>" nogil:
    const char *inet_ntop(int family, const void *address, char *text, socklen_t size)


# The last IPv4 address that was written out: clients come in crowds from one proxy, and one string is enough for all.
cdef uint32_t _last_ipv4 = 0
cdef str _last_ipv4_text = "0.0.0.0"


cdef str _ipv4_text(const in_addr *address):
    global _last_ipv4, _last_ipv4_text
    cdef char text[46]
    if address.s_addr != _last_ipv4:
        inet_ntop(AF_INET, address, text, sizeof(text))
        _last_ipv4_text = (<bytes>text).decode("ascii")
        _last_ipv4 = address.s_addr
    return _last_ipv4_text


cdef object _ipv6_address(const sockaddr_in6 *address):
    cdef char text[46]
    inet_ntop(AF_INET6, &address.sin6_addr, text, sizeof(text))
    host = (<bytes>text).decode("ascii")
    return (host, ntohs(address.sin6_port), ntohl(address.sin6_flowinfo), address.sin6_scope_id)


cdef object _unix_address(const sockaddr_un *address, socklen_t length):
    cdef Py_ssize_t size = <Py_ssize_t>length - 2  # sa_family comes first
    if size <= 0:
        return ""
    if address.sun_path[0] == 0:  # the abstract namespace
        return PyBytes_FromStringAndSize(address.sun_path, size)
    return os.fsdecode(<bytes>address.sun_path)


cdef object address_of(const sockaddr_storage *address, socklen_t length):
    """An address as the socket module writes it; None for a family that it is asked for instead."""
    if address.ss_family == AF_INET:
        return (_ipv4_text(&(<sockaddr_in *>address).sin_addr), ntohs((<sockaddr_in *>address).sin_port))
    if address.ss_family == AF_INET6:
        return _ipv6_address(<sockaddr_in6 *>address)
    if address.ss_family == AF_UNIX:
        return _unix_address(<sockaddr_un *>address, length)
    return None


# The largest datagram and a byte, and a little more so that the first bytes of all do not share a line of the cache.
cdef enum:
    SLOT = 65536 + 192

# Answers up to this size gather; UDP over IPv4 takes 65,507 bytes, and what is too long must fail where it is sent.
cdef Py_ssize_t GATHERED = 9000


@cython.final
@cython.no_gc_clear
cdef class Datagrams(Channel):
    """A descriptor of a datagram socket, which may receive and send in batches.

    Args:
        fd: the descriptor, non-blocking; it stays the caller's.
    """

    def __dealloc__(self):
        free(self.arrivals)
        free(self.arrival_parts)
        free(self.senders)
        free(self.room)
        free(self.departures)
        free(self.departure_parts)
        free(self.receivers)

    cdef int open_batches(self) except -1:
        """Make room for a batch each way; the kernel gives memory only to what is used of it."""
        cdef int place
        if self.arrivals != NULL:
            return 0
        self.arrivals = <mmsghdr *>calloc(BATCH, sizeof(mmsghdr))
        self.arrival_parts = <iovec *>calloc(BATCH, sizeof(iovec))
        self.senders = <sockaddr_storage *>calloc(BATCH, sizeof(sockaddr_storage))
        self.room = <char *>malloc(<size_t>BATCH * SLOT)
        self.departures = <mmsghdr *>calloc(BATCH, sizeof(mmsghdr))
        self.departure_parts = <iovec *>calloc(BATCH, sizeof(iovec))
        self.receivers = <sockaddr_storage *>calloc(BATCH, sizeof(sockaddr_storage))
        if not (self.arrivals and self.arrival_parts and self.senders and self.room):
            raise MemoryError()
        if not (self.departures and self.departure_parts and self.receivers):
            raise MemoryError()
        self.sender_addresses = [None] * BATCH
        self.departing = []
        for place in range(BATCH):
            self.arrival_parts[place].iov_base = self.room + place * SLOT
            self.arrival_parts[place].iov_len = 65536
            self.arrivals[place].msg_hdr.msg_iov = &self.arrival_parts[place]
            self.arrivals[place].msg_hdr.msg_iovlen = 1
            self.arrivals[place].msg_hdr.msg_name = &self.senders[place]
            self.departures[place].msg_hdr.msg_iov = &self.departure_parts[place]
            self.departures[place].msg_hdr.msg_iovlen = 1
            self.departures[place].msg_hdr.msg_name = &self.receivers[place]
        return 0

    cdef int collect(self) except -1:
        """Receive a batch where the last one is used up; returns how many datagrams are at hand. Never waits."""
        cdef int place, count
        self.open_batches()
        if self.taken < self.arrived:
            return self.arrived - self.taken
        self.arrived = self.taken = 0
        for place in range(BATCH):
            self.arrivals[place].msg_hdr.msg_namelen = sizeof(sockaddr_storage)
        while True:
            count = recvmmsg(self.fd, self.arrivals, BATCH, MSG_DONTWAIT, NULL)
            if count >= 0:
                self.arrived = count
                self.drained = count < BATCH
                return count
            if errno == EAGAIN:
                self.drained = True
                return 0
            if errno != EINTR:
                PyErr_SetFromErrno(OSError)
                return -1

    cdef object take(self, Py_ssize_t size):
        """The next datagram at hand, cut to `size` bytes, and its sender's address."""
        cdef int place = self.taken
        cdef Py_ssize_t length = min(size, <Py_ssize_t>self.arrivals[place].msg_len)
        data = PyBytes_FromStringAndSize(<char *>self.arrival_parts[place].iov_base, length)
        if self.arrivals[place].msg_hdr.msg_namelen == 0:  # a Unix client that is bound to nothing
            address = None
        else:
            address = address_of(&self.senders[place], self.arrivals[place].msg_hdr.msg_namelen)
        self.sender_addresses[place] = address
        self.taken += 1
        return data, address

    def each(self, Py_ssize_t limit, tell_cut):
        """What is at hand, and what comes in meanwhile.

        Several may go through it at once: each datagram is given to one of them.

        Args:
            limit: bytes of a datagram that are given out.
            tell_cut: called with the sender's address when that was not all.

        Yields:
            The data and the sender's address.
        """
        return Arrivals.__new__(Arrivals, self, limit, tell_cut)

    cdef int sender_place(self, object address):
        """The place of the batch whose sender's address this very object is, or -1."""
        cdef int tries, place = self.expected
        if self.sender_addresses is None:
            return -1
        for tries in range(BATCH):
            if place >= self.taken:
                place = 0
            if self.sender_addresses[place] is address and place < self.taken:
                self.expected = place + 1
                return place
            place += 1
        return -1

    cdef int gather(self, bytes data, int place) except -1:
        """Let an answer to the sender at `place` wait for the others; returns 0 where it cannot, and 1 where it does."""
        cdef Hub hub = hub_here()
        cdef int slot = self.waiting
        if hub is None or not hub.is_green() or self.hub is not hub:
            return 0
        if slot == BATCH or PyBytes_GET_SIZE(data) > GATHERED:
            self.post()
            return 0
        self.departing.append(data)
        memcpy(&self.receivers[slot], &self.senders[place], self.arrivals[place].msg_hdr.msg_namelen)
        self.departures[slot].msg_hdr.msg_namelen = self.arrivals[place].msg_hdr.msg_namelen
        self.departure_parts[slot].iov_base = PyBytes_AS_STRING(data)
        self.departure_parts[slot].iov_len = PyBytes_GET_SIZE(data)
        self.waiting += 1
        self._post_soon(hub)
        return 1

    cdef int post(self) except -1:
        """Send what has gathered, and what the kernel has no room for when it has some again.

        A datagram that cannot be sent at all is told and dropped, as datagrams may be.
        """
        cdef int count
        while self.posted < self.waiting:
            count = sendmmsg(
                self.fd, self.departures + self.posted, self.waiting - self.posted, MSG_DONTWAIT | MSG_NOSIGNAL
            )
            if count >= 0:
                self.posted += count
            elif errno == EAGAIN:
                self.stuffed = True
                self._watch(self.hub, <uint32_t>EPOLLOUT)
                return 0
            elif errno != EINTR:
                self._tell(self.posted, errno)
                self.posted += 1
        self.waiting = self.posted = 0
        self.departing.clear()
        return 0

    cdef void happened(self, uint32_t events):
        Channel.happened(self, events)
        if self.waiting and not self.stuffed:
            self._post_soon(self.hub)

    cdef void _post_soon(self, Hub hub):
        if not self.dirty:
            self.dirty = True
            self.dirtier = hub.outgoing
            hub.outgoing = self

    def _tell(self, int slot, int error):
        if self.on_unsent is not None:
            address = address_of(&self.receivers[slot], self.departures[slot].msg_hdr.msg_namelen)
            self.on_unsent(address, OSError(error, os.strerror(error)))


@cython.final
cdef class Arrivals:
    """See `Datagrams.each`."""

    cdef Datagrams channel
    cdef Py_ssize_t limit
    cdef object tell_cut

    def __cinit__(self, Datagrams channel, Py_ssize_t limit, tell_cut):
        self.channel = channel
        self.limit = limit
        self.tell_cut = tell_cut

    def __iter__(self):
        return self

    def __next__(self):
        cdef Datagrams channel = self.channel
        cdef bint cut
        if channel.closed or channel.taken >= channel.arrived and channel.collect() == 0:
            raise StopIteration
        cut = <Py_ssize_t>channel.arrivals[channel.taken].msg_len > self.limit
        found = channel.take(self.limit)
        if cut:
            self.tell_cut(found[1])
        return found
