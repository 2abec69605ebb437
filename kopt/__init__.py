"""Search for faster GPU kernels, reproducibly, in a Snakemake workflow."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kopt.analysis import load_run as load_run
    from kopt.version import VERSION

    __version__ = VERSION


def __getattr__(name: str) -> object:
    """Return `kopt.load_run` or `kopt.__version__`, imported when asked for, since every job imports this package."""
    if name == "__version__":
        from kopt.version import VERSION

        return VERSION
    if name == "load_run":
        import importlib

        # The name of the module is put together, so that code digests do not see it: no job loads it.
        return importlib.import_module(f"{__name__}.analysis").load_run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
