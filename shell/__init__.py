"""Everything that touches the world: files, network, clock, terminal. It imports kernel, never otherwise."""
