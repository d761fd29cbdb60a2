"""Addresses of the kernel as Python writes them, and datagrams in batches."""

import os

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint16_t, uint32_t


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
