"""The descriptor in reserve: lent, taken back, and missed without harm."""

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from portside.spare import SpareDescriptor
from tests.conftest import descriptors

pytestmark = pytest.mark.usefixtures("no_leaks")


@pytest.fixture
def spare() -> Iterator[SpareDescriptor]:
    spare = SpareDescriptor()
    yield spare
    spare.close()


@contextmanager
def no_more_descriptors() -> Iterator[list[int]]:
    """Every descriptor of the process is taken; yields those that may be given back early."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(descriptors()) + 8, before[1]))
    hoard: list[int] = []
    try:
        with suppress(OSError):
            while True:
                hoard.append(os.open(os.devnull, os.O_RDONLY))
        yield hoard
    finally:
        for descriptor in hoard:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def open_and_close() -> None:
    os.close(os.open(os.devnull, os.O_RDONLY))


def refuse() -> None:
    raise OSError(errno.ECONNABORTED, "the client is gone")


def test_it_is_what_is_left(spare: SpareDescriptor) -> None:
    with no_more_descriptors():
        with pytest.raises(OSError, match="Too many open files"):
            open_and_close()
        for _ in range(3):
            assert spare.lend(open_and_close) is True
            with pytest.raises(OSError, match="Too many open files"):  # it is back, and nobody else can take it
                open_and_close()


def test_it_comes_back_after_an_error(spare: SpareDescriptor) -> None:
    with no_more_descriptors():
        with pytest.raises(ConnectionAbortedError):
            spare.lend(refuse)
        assert spare.lend(open_and_close) is True


def test_it_may_be_lost_and_found_again(spare: SpareDescriptor) -> None:
    taken: list[int] = []
    with no_more_descriptors() as hoard:
        assert spare.lend(lambda: taken.append(os.open(os.devnull, os.O_RDONLY))) is True
        assert spare.lend(open_and_close) is False
        os.close(hoard.pop())
        assert spare.lend(lambda: os.close(taken.pop())) is True
    assert taken == []


def test_none_to_begin_with() -> None:
    with no_more_descriptors():
        spare = SpareDescriptor()
        assert spare.lend(open_and_close) is False
    assert spare.lend(open_and_close) is True
    spare.close()


def test_closing_twice(spare: SpareDescriptor) -> None:
    before = len(descriptors())
    spare.close()
    spare.close()
    assert len(descriptors()) == before - 1
