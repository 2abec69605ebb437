"""Search for faster GPU kernels, reproducibly, in a Snakemake workflow."""

__version__ = "0.1.0"
