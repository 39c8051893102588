"""This process: signals, processors and garbage collection."""
