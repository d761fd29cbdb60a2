"""The short form of the stress test; `python -m tests.core.stress --seconds 600` is the long one."""

import pytest

from tests.core.stress.running import SPARE_GREENLETS, Stress

pytestmark = pytest.mark.usefixtures("no_leaks")

SEED = 3
CONVERSATIONS = 400
AT_ONCE = 100
SECONDS = 40.0  # more than they take; a slow machine has fewer of them


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_every_byte_arrives_and_nothing_is_left() -> None:
    stress = Stress(SEED, AT_ONCE)
    with stress.serving():
        warm = stress.round(CONVERSATIONS, SECONDS)
        again = stress.round(CONVERSATIONS, SECONDS)
    assert warm.wrong == again.wrong == []
    assert again.conversations > 0
    assert again.left.descriptors == warm.left.descriptors
    assert again.left.tasks == warm.left.tasks
    assert again.left.greenlets <= warm.left.greenlets + 2 * SPARE_GREENLETS
