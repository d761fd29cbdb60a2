"""greenlet's C interface (greenlet.h), as far as the hub needs it."""

from cpython.object cimport PyObject


cdef extern from "greenlet/greenlet.h":
    ctypedef struct PyGreenlet:
        void *pimpl

    void PyGreenlet_Import()
    PyGreenlet *PyGreenlet_New(PyObject *run, PyGreenlet *parent)
    PyGreenlet *PyGreenlet_GetCurrent()
    PyObject *PyGreenlet_Switch(PyGreenlet *greenlet, PyObject *args, PyObject *kwargs)
    int PyGreenlet_ACTIVE(PyGreenlet *greenlet)
    int PyGreenlet_STARTED(PyGreenlet *greenlet)
