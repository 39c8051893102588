"""This process: signals, garbage collection, compiled loops, processors."""
