"""Datagrams' types and the addresses of the kernel, for the sockets."""

from portside.core.hub cimport Channel


cdef extern from "<sys/socket.h>" nogil:
    ctypedef unsigned int socklen_t

    struct sockaddr:
        unsigned short sa_family

    struct sockaddr_storage:
        unsigned short ss_family


cdef object address_of(const sockaddr_storage *address, socklen_t length)
