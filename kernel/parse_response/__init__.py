"""Parsers of sampled turns, a module a kind of format. A renderer names the one that reads what it writes."""
