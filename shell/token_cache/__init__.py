"""The token cache: rows as tokens and weights on disk, so that nothing is tokenized twice.

A cache is a folder named by a digest of what decides its tokens (`shell.fingerprints`). A shard is a function of its
rows: two writers write the same bytes, and an interrupted build resumes with what is there.
"""
