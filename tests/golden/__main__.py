"""Writes the golden renders anew."""

from tests.golden.engine import RENDERERS, open_tokenizer
from tests.golden.renders import save

if __name__ == "__main__":
    tokenizer = open_tokenizer("sample")
    for renderer in RENDERERS.values():
        save(renderer, tokenizer)
