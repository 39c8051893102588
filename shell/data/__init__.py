"""Rows: what `--dataset` names, from files of any kind, the Hub, streams and addresses, one source or several."""
