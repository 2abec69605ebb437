"""kopt: a reproducible search for faster GPU kernels, run as a Snakemake workflow."""

__version__ = "0.1.0"
