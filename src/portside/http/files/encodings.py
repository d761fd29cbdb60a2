"""Content codings (RFC 9110, section 12.5.3): which of them a client takes, which files are worth one, and packing."""

import gzip
import re
import sys
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Final, NamedTuple


class Coding(NamedTuple):
    """A content coding: its name in Content-Encoding, and the suffix of files that were coded beforehand."""

    name: str
    suffix: str


# In the order of preference where a client likes several equally: what is packed best beforehand, and quickest while
# sending, first.
CODINGS: Final = (Coding("br", ".br"), Coding("zstd", ".zst"), Coding("gzip", ".gz"))
ZSTD, GZIP = CODINGS[1:]

PACKED_FROM: Final = 1024  # bytes; what is smaller leaves in one packet with its head in any case
GZIP_LEVEL: Final = 5  # of zlib's 9: nearly the size that 9 gives, in a third of its time
# Of zstd's 22: about the size of gzip's 5, in a fifth of its time. Its window is 2 MiB for contents of any length; HTTP
# allows for 8 MB (RFC 9659).
ZSTD_LEVEL: Final = 3

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


def packable(codings: Iterable[Coding]) -> Coding | None:
    """The first of these that contents can be put into here; None where there is none."""
    return next((coding for coding in codings if coding in _PACKERS), None)


def packed(content: bytes, coding: Coding) -> bytes:
    """The content in a coding that is `packable`; the same bytes every time, so that an ETag stays true."""
    return _PACKERS[coding](content)


def _gzipped(content: bytes) -> bytes:
    return gzip.compress(content, compresslevel=GZIP_LEVEL, mtime=0)  # else its head holds the time of day


def _zstd_packer() -> Callable[[bytes], bytes] | None:
    """The standard library's from Python 3.14 on (PEP 784), before that its backport; None where neither is there."""
    try:
        if sys.version_info >= (3, 14):
            from compression.zstd import compress
        else:
            from backports.zstd import compress
    except ImportError:
        return None
    return lambda content: compress(content, ZSTD_LEVEL)


# Looked for once and early: a server with a process for each client would else import it for each.
_PACKERS: Final = {coding: pack for coding, pack in ((ZSTD, _zstd_packer()), (GZIP, _gzipped)) if pack}
