"""Trains the sample tokenizer: byte-level BPE over the sample conversations, then the control tokens.

    python -m tests.shell.sample.train_tokenizer      # writes shell/sample/tokenizer.json

The BPE has ids 0 to 4095. Control tokens follow in the order of the renderers, so a new renderer adds ids at the end.
"""

import sys
from pathlib import Path

import msgspec

from kernel.conversation import text_of
from kernel.renderers import RENDERERS
from kernel.row_to_conversation import read_conversation

SAMPLE = Path(__file__).parents[3] / "shell" / "sample"
N_BPE = 4096
EOS = "<|endoftext|>"
WORDS = r"\s*[\r\n]+|'(?:[sdmt]|ll|ve|re)| ?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""how texts are split before they are encoded; newlines stay together, as in current models"""


def control_tokens() -> list[str]:
    """The end-of-text token, then every control token of a shipped renderer, once."""
    return list(dict.fromkeys([EOS, *(name for renderer in RENDERERS.values() for name in renderer.controls)]))


def texts(path: Path) -> list[str]:
    """The text of every message of a JSONL file."""
    rows = [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]
    return [text_of(message) for row in rows for message in read_conversation(row)]


def train(corpus: list[str]) -> str:
    """The tokenizer.json, as text, of a BPE over the corpus and the control tokens."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=N_BPE, min_frequency=2, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.add_tokens([AddedToken(name, normalized=False, special=name == EOS) for name in control_tokens()])
    return str(tokenizer.to_str(pretty=False))


if __name__ == "__main__":
    out = SAMPLE / "tokenizer.json"
    out.write_text(train(texts(SAMPLE / "train.jsonl")), encoding="utf-8")
    sys.stdout.write(f"{out}\n")
