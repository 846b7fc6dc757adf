"""What `experiments/compare.py` is made of: arms, runs, effects and their report."""
