# The half of TLS's layer that makes records and sends them, one writer after the other.


cdef class Sending(Layer):
    """What goes out.

    Args:
        engine, outgoing: as of `Records`.
    """

    cdef object encipherer, drain  # the methods that each message takes
    cdef bint busy  # OpenSSL is at work, in some thread
    cdef bint writing  # some writer has its turn
    cdef object line  # of the writers that wait for theirs, or None
    cdef bytes unsent  # records that the kernel has not taken all of, or None
    cdef Py_ssize_t sent  # bytes of them that it has
    cdef Py_ssize_t offered  # bytes that are a record already, and that a writer which does not wait will offer again

    def __cinit__(self, engine, incoming, outgoing, bint suppress):
        self.encipherer = engine.write
        self.drain = outgoing.read

    cdef int hear(self, Stream stream, double *by) except -1:
        """Receive what OpenSSL waits for in the middle of a write."""
        raise NotImplementedError

    cdef Py_ssize_t put(self, Stream stream, const char *data, Py_ssize_t size, double *by) except -1:
        """Send a record's worth of `data`; returns how many bytes.

        Who does not wait offers what was not sent once more, as OpenSSL has it: that is a record already.
        """
        cdef Py_ssize_t piece = min(self.offered if self.offered else RECORD, size)
        if self.offered == 0:
            if self.unsent is not None:
                self.push(stream, by)
            self.encipher(stream, data, piece, by)
            if stream.patience == 0:
                self.offered = piece
        self.push(stream, by)
        self.offered = 0
        return piece

    cdef int encipher(self, Stream stream, const char *data, Py_ssize_t size, double *by) except -1:
        """Have OpenSSL make a record, which its memory keeps."""
        cdef object view
        if size <= FEW:
            view = PyBytes_FromStringAndSize(data, size)
        else:
            view = PyMemoryView_FromMemory(<char *>data, size, PyBUF_READ)
        while True:
            self.enter()
            try:
                self.encipherer(view)
                return 0
            except _WantRead:  # up to TLS 1.2 a peer may wish to agree anew on how to talk
                pass
            finally:
                self.busy = False
            self.push(stream, by)
            self.hear(stream, by)

    cdef int push(self, Stream stream, double *by) except -1:
        """Send the records that were made; without `by` only those that the kernel takes at once."""
        cdef Py_ssize_t count, left
        cdef bint waited = False
        while self.unsent is not None or self.collect():
            left = PyBytes_GET_SIZE(self.unsent) - self.sent
            count = c_send(stream.fd, PyBytes_AS_STRING(self.unsent) + self.sent, left, MSG_NOSIGNAL)
            if count > 0:
                stream.sent += count
            if count == left:
                self.unsent = None
                if not waited:
                    return 0  # else a task that reads may have left something meanwhile
            elif count >= 0:
                self.sent += count
            elif errno == EINTR:
                PyErr_CheckSignals()
            elif errno != EAGAIN:
                PyErr_SetFromErrno(OSError)
                return -1
            elif by == NULL:
                return 0
            else:
                self.await_room(stream, by)
                waited = True
        return 0

    cdef bint collect(self) except -1:
        """Take the records out of OpenSSL's memory; False where there are none."""
        cdef bytes records
        self.enter()
        try:
            records = self.drain()
        finally:
            self.busy = False
        if PyBytes_GET_SIZE(records) == 0:
            return False
        self.unsent = records
        self.sent = 0
        return True

    cdef int await_room(self, Stream stream, double *by) except -1:
        if stream.patience == 0:
            raise _WantWrite(ssl.SSL_ERROR_WANT_WRITE, "The operation did not complete (write)")
        stream.stuffed = True
        if by[0] < 0:
            by[0] = stream.deadline(True)
        if not stream.wait(True, by[0]):
            raise TimeoutError("The write operation timed out")
        return 0

    # -- turns --

    cdef int enter(self) except -1:
        """Have OpenSSL for oneself, until `busy` is False again."""
        while self.busy:
            with nogil:
                sched_yield()
            if in_green():
                give_way()
        self.busy = True
        return 0

    cdef int begin_writing(self, Stream stream) except -1:
        """Wait until no other task or thread is in the middle of a write: a record must be gone before the next."""
        if not self.writing:
            self.writing = True
            return 0
        if stream.patience == 0:
            raise _WantWrite(ssl.SSL_ERROR_WANT_WRITE, "another task is in the middle of a write")
        return self.queue_up(new_waiter())

    cdef int queue_up(self, waiter) except -1:
        if not self.writing:
            self.writing = True
            return 0
        if self.line is None:
            self.line = deque()
        self.line.append(waiter)
        try:
            waiter.wait(None)
        except BaseException:
            if waiter in self.line:
                self.line.remove(waiter)
            else:
                self.end_writing()
            raise
        return 0

    cdef int end_writing(self) except -1:
        """Let the next writer have its turn."""
        if self.line:
            self.line.popleft().wake()
        else:
            self.writing = False
        return 0

    cdef bint spend(self, Stream stream, Py_ssize_t amount):
        """Count work against the task's credit; True where that is used up."""
        cdef Hub hub = payer(stream)
        if hub is None:
            return False
        hub.credit -= amount
        return hub.credit <= 0
