"""kopt's version, where the package's metadata and all modules find it."""

VERSION = "0.1.0"
