"""What ends a command with exit code 1."""


class Failure(Exception):
    """The system refused, or the program failed; the message is one sentence for stderr.

    Attributes:
        code: the exit code.
    """

    code = 1


class Unreachable(Failure):
    """Nobody answers where an admin endpoint should be."""

    code = 3


class Refused(Failure):
    """A configuration that cannot be: nothing was started."""

    code = 2
