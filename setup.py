"""Builds the compiled core; everything else about the project is in pyproject.toml.

The core is optional: where it cannot be built (no C compiler, no Linux), the rest of the package installs and works,
and asking for the green engine says what is missing. The environment variable PORTSIDE_CORE asks for something else:

    require   a core that cannot be built is an error
    debug     the same; built from scratch with bounds checks, assertions and debug information, without optimisation
    no        do not build it

Every `.pyx` file in portside/core is a module of its own. Their C code is written below build/ and nowhere else.
"""

import os
import sys
from pathlib import Path
from typing import Any

from setuptools import Extension, setup

CORE = Path("src/portside/core")
WISH = os.environ.get("PORTSIDE_CORE", "")
DEBUG = WISH == "debug"
WANTED = WISH != "no" and sys.platform.startswith("linux") and sys.implementation.name == "cpython"


def extensions() -> list[Extension]:
    """The modules of portside.core."""
    import greenlet

    return [
        Extension(
            f"portside.core.{source.stem}",
            [str(source)],
            depends=sorted(str(header) for pattern in ("*.pxd", "*.pxi") for header in CORE.glob(pattern)),
            # greenlet.h is in the package itself: "greenlet/greenlet.h" is found from the folder above.
            include_dirs=[str(Path(greenlet.__file__).parent.parent)],
            extra_compile_args=["-O0", "-g", "-UNDEBUG"] if DEBUG else ["-O2"],
            define_macros=[("CYTHON_ASSUME_SAFE_MACROS", "0")] if DEBUG else [],
            optional=not WISH,
        )
        for source in sorted(CORE.glob("*.pyx"))
    ]


# What Cython's build_ext, which setuptools uses by itself, would else be told on the command line.
OPTIONS: Any = {
    "cython_c_in_temp": True,
    "cython_include_dirs": ["src"],
    "cython_directives": {
        "boundscheck": DEBUG,
        "wraparound": DEBUG,
        "nonecheck": DEBUG,
        "initializedcheck": DEBUG,
        "cdivision": True,
        "embedsignature": True,
    },
    "force": DEBUG,
}

if WANTED:
    setup(ext_modules=extensions(), options={"build_ext": OPTIONS})
else:
    setup()
