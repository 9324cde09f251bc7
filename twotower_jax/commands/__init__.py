"""The commands of ``twotower``, one module per command.

Each module has ``add_options(parser)`` and ``run(options)``, which returns the exit
status. The libraries of a command are imported within ``run``, so that the command line
answers at once.
"""
