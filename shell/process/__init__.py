"""This process: signals, runtime, and work whose result is waited for."""
