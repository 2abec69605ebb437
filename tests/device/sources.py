"""Variants of a kernel's source, as the tests of both judges write them."""


def replaced(source: str, *replacements: tuple[str, str]) -> str:
    """The source with pieces of its text replaced, all of which occur."""
    for old, new in replacements:
        assert old in source
        source = source.replace(old, new)
    return source


def wrapped_in(source: str, body: str) -> str:
    """The source, with `kernel_function` renamed to `honest` and another one in its place."""
    return source.replace("def kernel_function(", "def honest(") + "\n\n" + body
