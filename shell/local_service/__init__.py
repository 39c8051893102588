"""The local service: a Tinker-protocol server over a real, very small, language model, on 127.0.0.1.

The unmodified `tinker` SDK is its only client, so a recipe runs whole, offline and free, and tests need no mock.
`model/` is numpy alone; `server/` is the protocol, the queue and the state, which survives `kill -9`.
"""
