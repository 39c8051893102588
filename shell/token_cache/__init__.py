"""The token cache: rows as tokens and weights on disk, so that nothing is tokenized twice.

A cache is a folder named by a digest of everything that decides its tokens (`shell.fingerprints`), with shards
of rows in the order of their source. A shard is a function of its rows, so two writers write the
same bytes, an interrupted build resumes with what is there, and a cluster's cache is that of one machine, bit for bit.
"""
