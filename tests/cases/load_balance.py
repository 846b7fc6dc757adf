from reference import experts as reference

from cases import Case
from rljax import regularizers

SUITE = 'test_experts_training.py'  # its arrays have axes of layers and experts
CASES = {'load_balance': Case(regularizers.load_balance, reference.load_balance)}
