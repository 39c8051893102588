"""Settings: what can be asked, from flags, files, presets and the environment to one struct."""
