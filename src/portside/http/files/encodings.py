"""Content codings (RFC 9110, section 12.5.3): which of them a client takes, and which files are worth one."""

import gzip
import re
from functools import lru_cache
from typing import Final, NamedTuple


class Coding(NamedTuple):
    """A content coding: its name in Content-Encoding, and the suffix of files that were coded beforehand."""

    name: str
    suffix: str


# In the order of preference where a client likes several equally: the smaller result first.
CODINGS: Final = (Coding("br", ".br"), Coding("zstd", ".zst"), Coding("gzip", ".gz"))
GZIP: Final = CODINGS[-1]

GZIP_FROM: Final = 1024  # bytes; what is smaller leaves in one packet with its head in any case
GZIP_LEVEL: Final = 5  # of zlib's 9: nearly the size that 9 gives, in a third of its time

_ALIASES: Final = {"x-gzip": "gzip"}  # RFC 9110, section 8.4.1.3
_WEIGHT: Final = re.compile(r"[qQ]=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")  # RFC 9110, section 12.4.2

# What text/*, +json and +xml do not cover, and is not packed already.
_COMPRESSIBLE: Final = frozenset(
    {
        "application/javascript",
        "application/json",
        "application/manifest+json",
        "application/vnd.ms-fontobject",
        "application/wasm",
        "application/x-javascript",
        "application/x-ndjson",
        "application/xml",
        "application/yaml",
        "font/otf",
        "font/ttf",
        "image/bmp",
        "image/svg+xml",
        "image/x-icon",
        "image/vnd.microsoft.icon",
    }
)


@lru_cache(maxsize=256)
def is_compressible(content_type: str) -> bool:
    """Whether contents of this type get smaller by a coding."""
    essence = content_type.partition(";")[0].strip().lower()
    return essence.startswith("text/") or essence.endswith(("+json", "+xml")) or essence in _COMPRESSIBLE


def accepted(text: str) -> tuple[Coding, ...]:
    """Read an Accept-Encoding field.

    Returns:
        The codings that the client takes, those it likes best first. None of them is better than to send the content
        as it is, where the client would rather have that.
    """
    weights = _read_weights(text)
    others = weights.get("*", 0.0)
    asis = weights.get("identity", 0.0)
    liked = [(weights.get(coding.name, others), coding) for coding in CODINGS]
    return tuple(coding for weight, coding in sorted(liked, key=lambda each: -each[0]) if weight > 0 and weight >= asis)


def _read_weights(text: str) -> dict[str, float]:
    """The weight of each coding that is named; one with a weight that cannot be read counts as not wanted."""
    weights: dict[str, float] = {}
    for element in text.split(","):
        name, *parameters = (part.strip(" \t") for part in element.split(";"))
        coding = name.lower()
        weights[_ALIASES.get(coding, coding)] = _weight(parameters)
    return weights


def _weight(parameters: list[str]) -> float:
    if not parameters:
        return 1.0
    found = _WEIGHT.fullmatch(parameters[0]) if len(parameters) == 1 else None
    return float(found[1]) if found else 0.0


def gzipped(content: bytes) -> bytes:
    """The content in gzip, the same bytes every time (its head holds no date), so that an ETag stays true."""
    return gzip.compress(content, compresslevel=GZIP_LEVEL, mtime=0)
