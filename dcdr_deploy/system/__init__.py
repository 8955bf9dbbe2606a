"""The machine and its files: atomic writing, hardware, installed packages, faults of libraries."""
