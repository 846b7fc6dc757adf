"""`rljax plan`: what a config takes on devices that need not be there."""
