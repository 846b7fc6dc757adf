"""Advantages of tokens, and what shapes them."""

NAMES = {'gae', 'whiten'}
