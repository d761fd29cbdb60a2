"""Chaos: a service with workers, normal clients whose every answer is checked, and whatever can be done to both.

    python -m tools.chaos                 every row, under ten minutes
    python -m tools.chaos --only flood    one of them

`rows` is the table of what is tried. Each row has a service of its own (`program`, run by `service`), a process of
normal clients (`clients`), and attackers in processes of theirs (`attacks`); `stage` puts them together, `verdict` says
what was lost and whether that is allowed, `report` prints it.
"""
