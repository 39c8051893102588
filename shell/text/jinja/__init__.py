"""`hf_template`: any Jinja chat template as a format, masked by spans that are proven, not guessed.

Two renders tell data from the template's text (`rendering`), the template's own prompts where turns start and end
(`turns`). What has no proof is refused. jinja2 comes with `pip install tinsmith[templates]`.
"""
