"""Small tasks on which methods are compared, each with a config and a start of known quality."""
