"""The page that lists a folder: readable on a phone and in the dark, without scripts.

Where uploads are taken a script shows how far one has come; without it the form works as forms do.
"""

import html
import urllib.parse
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from portside.http.files.folders import Entry

CONTENT_TYPE: Final = "text/html; charset=utf-8"

_STYLE: Final = """
:root { color-scheme: light dark; --line: #8884; --quiet: #888; }
body { font: 1rem/1.4 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.2rem; overflow-wrap: anywhere; }
ul { list-style: none; margin: 0; padding: 0; border-top: 1px solid var(--line); }
li { display: grid; grid-template-columns: 1fr 6rem 9rem; align-items: center; border-bottom: 1px solid var(--line); }
li:hover { background: #8881; }
li a { padding: .6rem .4rem; overflow-wrap: anywhere; text-decoration: none; }
li a:hover, li a:focus-visible { text-decoration: underline; }
li.folder a { font-weight: 600; }
li span, li time, footer { color: var(--quiet); font-size: .85rem; font-variant-numeric: tabular-nums; }
li span, li time { text-align: right; padding-right: .4rem; white-space: nowrap; }
form { margin: 1rem 0; display: flex; flex-wrap: wrap; align-items: center; gap: .5rem; }
input, button { font: inherit; max-width: 100%; }
button { min-height: 2.75rem; padding: 0 1rem; }
footer { margin-top: 1rem; }
@media (max-width: 36rem) {
  li { grid-template-columns: 1fr auto; }
  li a { grid-column: 1 / -1; padding-bottom: 0; }
  li span { text-align: left; padding: 0 .4rem .6rem; }
  li time { padding-bottom: .6rem; }
}
"""

_PAGE: Final = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<h1>{title}</h1>
{form}<ul>
{rows}
</ul>
<footer>{summary}</footer>
</body>
</html>
"""

_FORM: Final = """<form method="post" enctype="multipart/form-data">
<input type="file" name="file" multiple required aria-label="files to upload">
<button>Upload</button>
<progress max="1" value="0" aria-label="how much has been sent" hidden></progress>
<output></output>
</form>
<script>
const form = document.querySelector("form"), [bar, told] = form.querySelectorAll("progress, output");
form.addEventListener("submit", (event) => {
  event.preventDefault();
  const request = new XMLHttpRequest(), button = form.querySelector("button");
  const is_busy = (busy) => { button.disabled = busy; bar.hidden = !busy; };
  const fail = (reason) => { is_busy(false); told.textContent = reason; };
  request.upload.onprogress = ({loaded, total}) => {
    bar.value = loaded / total;
    told.textContent = `${Math.floor(100 * loaded / total)} %`;
  };
  request.onload = () => request.status < 400 ? location.reload() : fail(`refused: ${request.statusText}`);
  request.onerror = () => fail("the server has ended the connection");
  request.open("POST", location.pathname);
  request.send(new FormData(form));
  is_busy(true);
});
</script>
"""

_UNITS: Final = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")


def page(title: str, entries: "Iterable[Entry]", *, is_root: bool, uploads: bool = False) -> bytes:
    """The page, in UTF-8; names that are not UTF-8 keep their bytes.

    Args:
        title: what stands above.
        entries: what is in the folder, in the order in which it is shown.
        is_root: there is no way up.
        uploads: show a form for files to upload.
    """
    shown = list(entries)
    rows = ([] if is_root else [_UP]) + [_row(entry) for entry in shown]
    text = _PAGE.format(
        title=html.escape(title, quote=False),
        style=_STYLE,
        form=_FORM if uploads else "",
        rows="\n".join(rows),
        summary=_summary(len(shown)),
    )
    return text.encode("utf-8", "surrogateescape")


def _summary(count: int) -> str:
    return f"{count} {'entry' if count == 1 else 'entries'}; times are UTC" if count else "This folder is empty"


_UP: Final = '<li class="folder"><a href="../">../</a></li>'


def _row(entry: "Entry") -> str:
    link = urllib.parse.quote(entry.name + "/" * entry.is_folder, errors="surrogatepass")
    # A link shows as one even where it leads to a folder, as the standard library has it.
    shown = html.escape(entry.name + ("@" if entry.is_link else "/" * entry.is_folder), quote=False)
    kind = ' class="folder"' if entry.is_folder else ""
    size = "" if entry.is_folder else readable_size(entry.size)
    return f'<li{kind}><a href="{link}">{shown}</a><span>{size}</span>{_time(entry.modified)}</li>'


def _time(modified: float) -> str:
    try:
        moment = datetime.fromtimestamp(modified, UTC)
    except (ValueError, OverflowError, OSError):  # a file system can hold years that a calendar cannot
        return "<time></time>"
    return f'<time datetime="{moment:%Y-%m-%dT%H:%M:%SZ}">{moment:%Y-%m-%d %H:%M}</time>'


def readable_size(size: int) -> str:
    """A number of bytes as people read it: `1 byte`, `999 bytes`, `1.5 KiB`."""
    if size < 1024:
        return f"{size} byte{'s' * (size != 1)}"
    number, unit = float(size), 0
    while number >= 1023.95 and unit < len(_UNITS) - 1:  # 1,023.95 would be written 1024.0
        number, unit = number / 1024, unit + 1
    return f"{number:.1f} {_UNITS[unit]}"
