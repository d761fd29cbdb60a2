"""The `portside` command: serve a handler, run a diagnostic service, talk to a server, look into one that runs.

It ends with 0 when all went well, 1 when the system refused or the program failed, 2 when the command line cannot be, 3
when no admin endpoint answers, and 130 when Ctrl-C cut a conversation short. What the commands need is imported when
one of them runs: `--help` does not wait for it.
"""

import sys
from collections.abc import Sequence

from portside.cli.arguments import parser
from portside.cli.failure import Failure

# 128 and the number of SIGINT, as shells tell it: a script must not take half a conversation for a whole one.
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: the command line without the program's name; None is this process's own.

    Returns:
        The exit code.

    Raises:
        SystemExit: after `--help` and `--version`, and with 2 when the command line cannot be.
    """
    options = parser().parse_args(arguments)
    try:
        options.run(options)
    except Failure as failure:
        print(f"portside: {failure}", file=sys.stderr)
        return failure.code
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0
