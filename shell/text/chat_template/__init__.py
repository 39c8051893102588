"""Jinja chat templates as formats: masked by spans that are proven, not guessed; what has no proof is refused."""
