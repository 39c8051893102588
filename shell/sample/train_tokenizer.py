"""How the tokenizer in the box was made: byte-level BPE over the sample conversations, control tokens behind it.

    python -m shell.sample.train_tokenizer            # writes shell/sample/tokenizer.json

The BPE takes ids 0 to 4095; the control tokens come behind them in the order in which the renderers name them, so a new
renderer adds ids at the end and moves none.
"""

import sys
from pathlib import Path

import msgspec

from kernel.conversation import text_of
from kernel.formats import RENDERERS
from kernel.row_reader import read_conversation

HERE = Path(__file__).parent
N_BPE = 4096
EOS = "<|endoftext|>"
WORDS = r"\s*[\r\n]+|'(?:[sdmt]|ll|ve|re)| ?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""Where texts are cut before they are encoded; newlines stay together, as in the tokenizers of today's models."""


def control_tokens() -> list[str]:
    """Every control token that a shipped renderer writes, once, behind the end-of-text token."""
    return list(dict.fromkeys([EOS, *(name for renderer in RENDERERS.values() for name in renderer.controls)]))


def texts(path: Path) -> list[str]:
    """What every message of a JSONL file says. Touches: the file."""
    rows = [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]
    return [text_of(message) for row in rows for message in read_conversation(row)]


def train(corpus: list[str]) -> str:
    """The tokenizer.json, as text, of a BPE over the corpus with the control tokens behind it."""
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
    out = HERE / "tokenizer.json"
    out.write_text(train(texts(HERE / "train.jsonl")), encoding="utf-8")
    sys.stdout.write(f"{out}\n")
