"""What spoils a made-up input that is nearly right."""

import random


def spoil(data: bytearray, source: random.Random, share: float) -> None:
    """Put bytes in, or in the place of others, as long as chance has it.

    Args:
        data: is changed.
        source: of chance.
        share: how probable each further byte is.
    """
    while data and source.random() < share:
        place = source.randrange(len(data))
        data[place : place + source.randrange(2)] = source.randbytes(1)
