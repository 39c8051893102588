"""What conversations are written with: chat formats and models by name, and tokenizers, from text to ids."""
