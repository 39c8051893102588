"""Writes the golden renders anew."""

from kernel.renderers import RENDERERS
from shell.text.tokenizer import open_tokenizer
from tests.golden.renders import save

if __name__ == "__main__":
    tokenizer = open_tokenizer("sample")
    for renderer in RENDERERS.values():
        save(renderer, tokenizer)
