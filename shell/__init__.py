"""Everything of Tinsmith that touches the world: files, network, clock, terminal. It imports kernel, never otherwise.

The Python API, as the recipes call it:

    shell.settings.cli.main(run, argv, config_type)   runs a recipe; errors become one sentence and an exit code
    shell.settings.cli.resolve(argv, config_type)     flags, file, presets and defaults as one struct
    shell.settings.config.Config                      the settings of a run
    shell.train.train(resolved)                       trains, or resumes
    shell.show.show(config)                           prints examples as the model sees them
    shell.prepare.prepare(config, done)               builds a token cache
"""
