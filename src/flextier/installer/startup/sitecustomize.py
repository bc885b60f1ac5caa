"""Python runs this file when it starts, where `flextier exec` or `flextier.install()` is above it.

It loads the next sitecustomize on the path, and installs flextier when `openai` is imported. It
imports nothing itself, and runs under any version of Python.
"""

import sys

_FOLDER = __file__.replace("\\", "/").rpartition("/")[0]


def _load_next():
    """Run the next sitecustomize on the path, which this one hides, under its name."""
    sys.path[:] = [path for path in sys.path if path.replace("\\", "/") != _FOLDER]
    this = sys.modules.pop(__name__, None)
    try:
        import sitecustomize  # noqa: F401
    except ImportError as error:
        if error.name != "sitecustomize":
            raise
    finally:
        if this is not None:
            sys.modules.setdefault(__name__, this)


class _ImportOfOpenAI:
    """A finder that finds nothing itself, and has flextier installed once `openai` is imported."""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name != "openai":
            return None
        finders = [finder for finder in sys.meta_path if finder is not cls]
        specs = (f.find_spec(name, path, target) for f in finders if hasattr(f, "find_spec"))
        spec = next((spec for spec in specs if spec is not None), None)
        if spec is not None and hasattr(spec.loader, "exec_module"):
            _install_after(spec.loader)
        return spec


def _install_after(loader):
    def exec_module(module):
        del loader.exec_module  # the loader is as before
        loader.exec_module(module)
        _install()

    loader.exec_module = exec_module


def _install():
    try:
        from flextier.installer.replacement import REPLACEMENT
    except ImportError as error:
        sys.stderr.write(
            "flextier: OpenAI clients of this process stay as they are, as flextier cannot be "
            "imported by %s: %s\n" % (sys.executable, error)
        )
    else:
        REPLACEMENT.start()


if "openai" in sys.modules:
    _install()
elif sys.hexversion > 0x03040000:  # Python 2 has other finders
    sys.meta_path.insert(0, _ImportOfOpenAI)
_load_next()
