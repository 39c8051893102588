"""The process itself: its signals, its garbage, its compiled loops."""
