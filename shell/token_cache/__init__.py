"""The prepared store: rows as tokens and weights on disk, so that nothing is tokenised twice.

A store is a folder named by a digest of everything that decides its tokens (`shell.provenance`), with files of
rows in the order of their source (`shard`), each of a fixed number of rows and each a function of its rows alone. So it
does not matter who makes a file, when, or how often: two writers write the same bytes, an interrupted build goes on
with what is there, and a cluster's store is that of one machine, bit for bit. What a run decides (order, batches, cut,
reduction) is not in it.
"""
