"""The folder of a run: its files, and what is on the screen."""
