"""Configuration: one table of options, said in a file, in the environment or on the command line."""
