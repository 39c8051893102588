"""The Tinker service that comes in the box: a real server and a real, very small, language model.

It speaks Tinker's own wire protocol on 127.0.0.1, so the unmodified `tinker` SDK is its only client. It is here so that
a recipe can be run whole, offline and free, before the real service is paid for, and so that tests use a server rather
than a mock. The parts, from the inside out:

    model.py attention.py      the language model: forward, loss, backward (numpy)
    lora.py optimizer.py       adapters over its frozen base; AdamW
    learner.py sampling.py     a model in training, as a value; tokens out of it
    database.py                one SQLite file, one transaction a request: what survives a kill
    queue.py store.py          in it: requests and results; models, checkpoints, samplers
    wire.py prompts.py         Tinker's messages <-> arrays
    handlers.py engine.py      what each request does; the thread that does them in order
    submit.py futures.py       the routes in and out of the queue; rest.py: look-ups; app.py: all routes
    process.py __main__.py     the service as a child process of a run, or on its own
    adopt.py                   a checkpoint from one run's service into another's
"""
