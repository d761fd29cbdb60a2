"""Builds the compiled core; everything else about the project is in pyproject.toml.

The core is optional: where it cannot be built (no C compiler, no Linux), the rest of the package installs and works, and
asking for the green engine says what is missing.

    PORTSIDE_CORE=require   a core that cannot be built is an error
    PORTSIDE_CORE=debug     as above, with bounds checks and assertions, and without optimisation
    PORTSIDE_CORE=no        do not build it
"""

import os
import sys
from pathlib import Path

from setuptools import Extension, setup

MODULES = ("hub", "stream", "datagrams", "sockets")
WISH = os.environ.get("PORTSIDE_CORE", "")
DEBUG = WISH == "debug"


def extensions() -> list[Extension]:
    """The modules of portside.core, as C."""
    if WISH == "no" or not sys.platform.startswith("linux"):
        return []
    import greenlet
    from Cython.Build import cythonize

    found = [
        Extension(
            f"portside.core.{name}",
            [f"src/portside/core/{name}.pyx"],
            # greenlet.h is in the package itself: "greenlet/greenlet.h" is found from the folder above.
            include_dirs=[str(Path(greenlet.__file__).parent.parent)],
            extra_compile_args=["-O0", "-g"] if DEBUG else ["-O2"],
            define_macros=[("CYTHON_ASSUME_SAFE_MACROS", "0")] if DEBUG else [],
            optional=not WISH,
        )
        for name in MODULES
    ]
    return cythonize(
        found,
        build_dir="build/cython",
        include_path=["src"],
        compiler_directives={
            "language_level": "3",
            "boundscheck": DEBUG,
            "wraparound": DEBUG,
            "nonecheck": DEBUG,
            "initializedcheck": DEBUG,
            "cdivision": True,
            "embedsignature": True,
        },
    )


setup(ext_modules=extensions())
