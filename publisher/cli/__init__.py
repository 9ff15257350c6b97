"""The command line, one file a command group. Commands do their work and raise; `main` turns that into words."""
