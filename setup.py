"""Compiles the wire contracts of `proto/` and the extension modules of `yais`; all else is in pyproject.toml.

With YAIS_WITHOUT_NATIVE=1 in the environment the extension modules are left out.
"""

import os
import re
import shlex
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import numpy
from Cython.Build import cythonize
from grpc_tools import protoc
from setuptools import Extension, setup
from setuptools.command.build import build
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

# Paths are relative to this file's folder: a build runs there.
SOURCES = Path("src")
PROTO = SOURCES / "yais" / "proto"
CONTRACTS = ("model_config", "grpc_service")

# What protoc writes for modules that lie on `sys.path` and share the default descriptor pool, and what takes its place
# in those of a package with a pool of its own.
REWRITES = (
    (r"^import (\w+_pb2) as", r"from . import \1 as"),
    (r"^from google\.protobuf import descriptor_pool as _descriptor_pool$", "from . import pool as _pool"),
    (r"_descriptor_pool\.Default\(\)", "_pool.POOL"),
    (
        r"^(_builder\.BuildTopDescriptorsAndMessages\(DESCRIPTOR, )'\w+', _globals\)$",
        r"\1__name__, _globals)\n_pool.pickle_by_class(DESCRIPTOR.message_types_by_name.values())",
    ),
)

# The newest of what `transport/nghttp2.pxd` declares: protections that distributions have added to older versions too.
PROBE = """
#include <nghttp2/nghttp2.h>
void *newest[] = {(void *)nghttp2_option_set_stream_reset_rate_limit, (void *)nghttp2_option_set_max_continuations};
"""
INSTALL = """
    Debian, Ubuntu:  apt-get install libnghttp2-dev pkg-config gcc python3-dev
    Fedora, RHEL:    dnf install libnghttp2-devel pkgconf-pkg-config gcc python3-devel
    macOS:           brew install libnghttp2 pkgconf
or build YAIS without it, on grpcio's transport alone, with YAIS_WITHOUT_NATIVE=1 in the environment."""
MISSING = f"\nYAIS's native transport needs libnghttp2, which pkg-config does not find. Install it:{INSTALL}"
TOO_OLD = f"""
YAIS's native transport needs libnghttp2 1.61, or an older one to which a distribution has added the protections against
rapid resets and CONTINUATION floods, as Debian 12 has to 1.52. The one that pkg-config finds has none.
Upgrade it:{INSTALL}"""
NO_COMPILER = f"\nYAIS's native transport needs a C compiler; there is no {{}}. Install it:{INSTALL}"


# What Python hands in is checked: None is no argument of a type unless it is its default, methods look at their `self`
# (Cython's own kind of function does not), and what is made from C alone is not made by unpickling either.
DIRECTIVES = {"wraparound": False, "allow_none_for_extension_args": False, "binding": False, "auto_pickle": False}


class Build(build):
    """`build` with what can fail ahead of the copying of files, whose log would bury the reason."""

    sub_commands = sorted(build.sub_commands, key=lambda command: command[0] != "build_ext")


class BuildPy(build_py):
    """`build_py` after the contracts, for wheels and for editable installs alike."""

    def run(self) -> None:
        compile_contracts()
        super().run()
        # In an editable installation `yais.version` asks git, for the commit changes there.
        if not self.editable_mode:
            write_commit(Path(self.build_lib))


class Sdist(sdist):
    """`sdist` with the commit, since what is built from it has no git to ask."""

    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        super().make_release_tree(base_dir, files)
        write_commit(Path(base_dir, SOURCES))


class BuildExt(build_ext):
    """`build_ext` that asks for nghttp2 only when there is something to compile."""

    def build_extensions(self) -> None:
        cflags, libs = nghttp2(self.compiler.compiler)
        for extension, compiled in zip(self.extensions, compile_cython(self.extensions), strict=True):
            extension.sources = compiled.sources
            extension.include_dirs = [numpy.get_include()]
            extension.define_macros = [("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION")]
            extension.extra_compile_args = ["-O3", *cflags]
            extension.extra_link_args = libs
        self.parallel = True
        super().build_extensions()


def compile_contracts() -> None:
    """Writes the modules of each contract, with their stubs, beside it."""
    includes = [f"-I{PROTO}", f"-I{files('grpc_tools') / '_proto'}"]
    outputs = [f"--{kind}_out={PROTO}" for kind in ("python", "pyi", "grpc_python")]
    if protoc.main(["protoc", *includes, *outputs, *(f"{name}.proto" for name in CONTRACTS)]):
        raise SystemExit("protoc could not compile proto/*.proto")
    for generated in PROTO.glob("*_pb2*.py*"):
        text = generated.read_text()
        for pattern, replacement in REWRITES:
            text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
        generated.write_text(text)


def write_commit(folder: Path) -> None:
    """Writes `yais/commit.txt` below `folder`, where this is a git checkout."""
    if not Path(".git").exists():
        return
    command = ["git", "rev-parse", "--short=12", "HEAD"]
    try:
        commit = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return
    (folder / "yais" / "commit.txt").write_text(commit)


def extensions() -> list[Extension]:
    """Each `.pyx` as a module of its package; none where they are left out."""
    if os.environ.get("YAIS_WITHOUT_NATIVE", "0") not in ("", "0"):
        return []
    # One level at a time: until Python 3.13 `**` does not follow the links of src/yais.
    sources = sorted([*SOURCES.glob("yais/*/*.pyx"), *SOURCES.glob("yais/*/*/*.pyx")])
    return [Extension(module_name(source), [str(source)]) for source in sources]


def module_name(source: Path) -> str:
    return ".".join(source.relative_to(SOURCES).with_suffix("").parts)


def compile_cython(modules: list[Extension]) -> list[Extension]:
    """The same extensions with their C as sources; C that is newer than all it was made of is not written again."""
    written: list[Extension] = cythonize(
        modules,
        include_path=[str(SOURCES)],
        build_dir="build/cython",
        compiler_directives=DIRECTIVES,
    )
    return written


def nghttp2(compiler: list[str]) -> tuple[list[str], list[str]]:
    """The flags to compile and to link with nghttp2; ends the build, and says what to install, unless it will do.

    Only what calls nghttp2 is linked to it.
    """
    cflags, libs = pkg_config("--cflags"), pkg_config("--libs")
    try:
        command = [*compiler, *cflags, "-fsyntax-only", "-x", "c", "-"]
        probe = subprocess.run(command, input=PROBE, text=True, capture_output=True)
    except OSError:
        raise SystemExit(NO_COMPILER.format(compiler[0])) from None
    if probe.returncode:
        raise SystemExit(TOO_OLD)
    return cflags, ["-Wl,-dead_strip_dylibs" if sys.platform == "darwin" else "-Wl,--as-needed", *libs]


def pkg_config(kind: str) -> list[str]:
    command = [os.environ.get("PKG_CONFIG", "pkg-config"), kind, "libnghttp2"]
    try:
        return shlex.split(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    except (OSError, subprocess.CalledProcessError):
        raise SystemExit(MISSING) from None


setup(cmdclass={"build": Build, "build_ext": BuildExt, "build_py": BuildPy, "sdist": Sdist}, ext_modules=extensions())
