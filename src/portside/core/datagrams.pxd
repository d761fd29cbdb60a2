"""Datagrams' types and the addresses of the kernel, for the sockets."""

from cpython.object cimport PyObject

from portside.core.hub cimport Channel, Hub


cdef extern from "<sys/socket.h>" nogil:
    ctypedef unsigned int socklen_t

    struct sockaddr:
        unsigned short sa_family

    struct sockaddr_storage:
        unsigned short ss_family

    struct iovec:
        void *iov_base
        size_t iov_len

    struct msghdr:
        void *msg_name
        socklen_t msg_namelen
        iovec *msg_iov
        size_t msg_iovlen
        void *msg_control
        size_t msg_controllen
        int msg_flags

    struct mmsghdr:
        msghdr msg_hdr
        unsigned int msg_len


# Datagrams that one system call receives or sends at most: enough to spread its cost, few enough that handling them
# all takes less than a millisecond.
cdef enum:
    BATCH = 32


cdef class Datagrams(Channel):
    cdef mmsghdr *arrivals
    cdef iovec *arrival_parts
    cdef sockaddr_storage *senders
    cdef char *room
    cdef int arrived
    cdef int taken
    cdef list sender_addresses  # as `take` gave them out, by their place
    cdef int expected  # the place whose sender is likely to be answered next
    cdef mmsghdr *departures
    cdef iovec *departure_parts
    cdef sockaddr_storage *receivers
    cdef list departing  # the data, kept until it was sent
    cdef int waiting  # places that are taken
    cdef int posted  # of those, how many were sent
    cdef public object on_unsent  # called with the address and the error of a datagram that could not be sent

    cdef int open_batches(self) except -1
    cdef int collect(self) except -1
    cdef object take(self, Py_ssize_t size)
    cdef int sender_place(self, object address)
    cdef int gather(self, bytes data, int place) except -1
    cdef void _post_soon(self, Hub hub)


cdef object address_of(const sockaddr_storage *address, socklen_t length)
