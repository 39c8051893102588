"""Settings: flags, files, presets and the environment, resolved to one struct."""
