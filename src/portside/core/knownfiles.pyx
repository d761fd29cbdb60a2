# cython: binding=False
"""Reads small files that are still in the state in which they were seen before, with as few system calls as there can be.

An answer that was made ready for one state of a file may go out with its content only while it is in that state. So the
file is opened anew each time, read, and only then asked for its state: what writes into a file gives it a new time of
modification first, and what was read before an unchanged one is all of one state. What replaces the file, or a folder
on the way, is a new inode; nothing is kept open, and nothing that was read is kept.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF
from libc.errno cimport EINTR, ELOOP, errno
from libc.stdint cimport int64_t, uint64_t


cdef extern from *:
    """
    #include <fcntl.h>
    #include <sys/stat.h>
    #include <sys/syscall.h>
    #include <unistd.h>

    #ifndef SYS_openat2
    #define SYS_openat2 437 /* the same on every machine */
    #endif

    struct portside_how { unsigned long long flags, mode, resolve; }; /* struct open_how, which old headers lack */

    static int portside_openat2(int folder, const char *name, int flags, unsigned long long resolve)
    {
        struct portside_how how = {(unsigned long long)flags, 0, resolve};
        return (int)syscall(SYS_openat2, folder, name, &how, sizeof how);
    }

    static long long portside_modified(const struct stat *status)
    {
        return status->st_mtim.tv_sec * 1000000000LL + status->st_mtim.tv_nsec;
    }
    """
    ctypedef unsigned long long ull "unsigned long long"

    struct c_stat "stat":
        unsigned int st_mode
        uint64_t st_dev
        uint64_t st_ino
        int64_t st_size

    int portside_openat2(int folder, const char *name, int flags, ull resolve) nogil
    int64_t portside_modified(const c_stat *status) nogil
    int c_open "open"(const char *name, int flags) nogil
    int c_close "close"(int fd) nogil
    int c_fstat "fstat"(int fd, c_stat *status) nogil
    ssize_t c_pread "pread"(int fd, void *data, size_t size, int64_t offset) nogil
    bint S_ISREG(unsigned int mode) nogil

    enum:
        AT_FDCWD
        O_CLOEXEC
        O_DIRECTORY
        O_NOCTTY
        O_NONBLOCK
        O_PATH
        O_RDONLY


cdef extern from "Python.h":
    PyObject *new_bytes "PyBytes_FromStringAndSize"(const char *data, Py_ssize_t size) except NULL
    char *bytes_data "PyBytes_AS_STRING"(PyObject *)


# As <linux/openat2.h> has them.
cdef enum:
    NO_MAGICLINKS = 0x02
    NO_SYMLINKS = 0x04
    BENEATH = 0x08

# A named pipe that took the file's place must not hold the handler, nor a terminal become the server's own.
cdef int READ = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC


@cython.final
cdef class KnownFile:
    """A regular file below a folder, in one state.

    Args:
        folder: the folder's path; one that is not absolute is looked for in what is the current one at each reading.
        name: the file's, relative to the folder, without `..` in it.
        status: its `os.stat_result`.
        confined: never follow a symbolic link out of the folder.

    Raises:
        ValueError: a null byte is in one of the names.
    """

    cdef bytes folder
    cdef bytes name
    cdef bytes path
    cdef bint confined
    cdef bint has_links  # whether there is a symbolic link on the way
    cdef uint64_t device
    cdef uint64_t inode
    cdef int64_t modified
    cdef int64_t size

    def __cinit__(self, bytes folder not None, bytes name not None, status, *, bint confined):
        if b"\0" in folder or b"\0" in name:  # the kernel would take what stands before it for the name
            raise ValueError("embedded null byte")
        self.folder = folder or b"."
        self.name = name
        self.path = self.folder.rstrip(b"/") + b"/" + name
        self.confined = confined
        self.device = status.st_dev
        self.inode = status.st_ino
        self.modified = status.st_mtime_ns
        self.size = status.st_size

    def read(self):
        """Its content; None where it cannot be opened any more, or is in another state."""
        cdef PyObject *content = new_bytes(NULL, self.size)
        cdef char *place = bytes_data(content)
        cdef const char *folder = PyBytes_AS_STRING(self.folder)
        cdef const char *name = PyBytes_AS_STRING(self.name)
        cdef const char *path = PyBytes_AS_STRING(self.path)
        cdef bint whole = False
        cdef int fd
        with nogil:
            fd = self._open(folder, name, path)
            if fd >= 0:
                whole = self._take(fd, place)
                c_close(fd)
        found = <object>content if whole else None
        Py_DECREF(<object>content)
        return found

    cdef int _open(self, const char *folder, const char *name, const char *path) noexcept nogil:
        """Open it by its path, in one call; where links are on the way, below its folder."""
        cdef int fd, below
        if not self.confined:
            return c_open(path, READ)
        if not self.has_links:
            fd = portside_openat2(AT_FDCWD, path, READ, NO_SYMLINKS)
            if fd >= 0 or errno != ELOOP:
                return fd
            self.has_links = True
        below = c_open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC)
        if below < 0:
            return below
        fd = portside_openat2(below, name, READ, NO_MAGICLINKS | BENEATH)
        c_close(below)
        return fd

    cdef bint _take(self, int fd, char *content) noexcept nogil:
        """Read all of it; False where it is not what it was, or was not while it was read."""
        cdef c_stat status
        cdef ssize_t count
        cdef int64_t done = 0
        while done < self.size:
            count = c_pread(fd, content + done, self.size - done, done)
            if count > 0:
                done += count
            elif count == 0 or errno != EINTR:
                return False
        return c_fstat(fd, &status) == 0 and self._is(&status)

    cdef bint _is(self, const c_stat *status) noexcept nogil:
        return (
            S_ISREG(status.st_mode)
            and status.st_ino == self.inode
            and status.st_dev == self.device
            and status.st_size == self.size
            and portside_modified(status) == self.modified
        )
