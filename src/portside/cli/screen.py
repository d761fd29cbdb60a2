"""How `portside top` is drawn: rich's part."""

from typing import TYPE_CHECKING, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from portside.cli.figures import COLUMNS, headline, printable, row

if TYPE_CHECKING:
    from portside.cli.top import Top

_KEYS = "↑↓ choose  c close  b ban  p pause  r resume  d drain  q quit"

# Lines that are no connections: headline, the figures' two rows, titles, the last two.
_OTHER_LINES = 8

# Columns of a terminal that one figure takes.
_FIGURE_WIDTH = 20


class Screen:
    """The terminal's other screen, from `with` to its end."""

    def __init__(self) -> None:
        self._console = Console()
        self._live = Live(console=self._console, screen=True, auto_refresh=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    def show(self, top: "Top") -> None:
        """Draw what is seen now."""
        width, height = self._console.size
        figures = _figures(top, max(1, width // _FIGURE_WIDTH))
        room = max(1, height - _OTHER_LINES - 3 * max(0, figures.row_count - 1))
        drawing = Group(
            Text(printable(headline(top.snapshot)), style="bold", no_wrap=True, overflow="ellipsis"),
            figures,
            _connections(top, room),
            _last_line(top),
        )
        self._live.update(drawing, refresh=True)


def _figures(top: "Top", columns: int) -> Table:
    """Each figure with its title above and its sparkline below, in as many rows as it takes."""
    table = Table.grid(padding=(0, 2, 1, 0))
    drawn = [
        Text.assemble((title, "dim"), "\n", (value, "bold"), " ", (trail[-_FIGURE_WIDTH + 10 :], "cyan"))
        for title, value, trail in top.trails.rows()
    ]
    for first in range(0, len(drawn), columns):
        table.add_row(*drawn[first : first + columns])
    return table


def _connections(top: "Top", room: int) -> Table:
    """The part of the list that the cursor is in."""
    table = Table(box=None, expand=True, header_style="dim", padding=(0, 1, 0, 0))
    for name in COLUMNS:
        right = name in ("age", "in", "out")
        table.add_column(
            name, justify="right" if right else "left", no_wrap=True, ratio=3 if name == "handler" else None
        )
    told = top.connections
    place = next((at for at, each in enumerate(told) if each["id"] == top.chosen), 0)
    first = max(0, min(place - room // 2, len(told) - room))
    for connection in told[first : first + room]:
        table.add_row(*map(Text, row(connection)), style="reverse" if connection["id"] == top.chosen else "")
    return table


def _last_line(top: "Top") -> Text:
    if top.question is not None:
        return Text(f"{top.question[0]} (y/n)", style="bold red")
    return Text.assemble((printable(top.message) + "\n", "yellow"), (_KEYS, "dim"))
