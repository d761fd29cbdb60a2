"""What ends a command with exit code 1."""


class Failure(Exception):
    """One sentence for stderr: what went wrong, and what to do about it."""
