"""Sample data: conversations of our own (Apache-2.0) and the tokenizer trained on them."""
