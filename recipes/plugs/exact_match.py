"""How many questions the model answers exactly: an evaluator.

    python recipes/sl_basic.py --log-path /tmp/run --evaluator sums=recipes/plugs/exact_match.py:exact_match

`metrics.jsonl` gets `eval/sums/accuracy` and `eval/sums/num_characters`.
"""

QUESTIONS = {f"What is {a} and {b}?": str(a + b) for a in range(1, 4) for b in range(1, 4)}


def exact_match(sampler):
    answers = sampler.many(list(QUESTIONS), max_tokens=8)
    texts = [answer["content"].strip() for answer in answers]
    right = [text == wanted for text, wanted in zip(texts, QUESTIONS.values(), strict=True)]
    return {"accuracy": sum(right) / len(right), "num_characters": sum(map(len, texts)) / len(texts)}
