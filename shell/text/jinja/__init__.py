"""`hf_template`: any model whose tokenizer ships a Jinja chat template, masked by spans that are proven, not guessed.

A template is run on strings that know where they came from (`traced`), so what is data in its output is known, and no
data becomes a control token. Where each turn starts and ends follows from the template's own prompts (`turns`); what
cannot be proven is refused with the reason. The trade-off: templates say how to write a conversation and not what is
sampled in it, so proofs cost renderings, some conversations are refused, and a renderer of pieces is always better.

jinja2 comes with `pip install tinsmith[templates]`; this package does not import it before a template is opened.
"""
