"""Wrong programs made of right ones: each operator changes the syntax tree in one way."""

import ast
import copy


class _Change(ast.NodeTransformer):
  """Base of the operators; `changed` says whether there was anything to change."""

  changed = False

  def __init__(self, entry_point):
    self.entry_point = entry_point


class ReturnNone(_Change):
  """Each value that is returned becomes None."""

  def visit_Return(self, node):
    self.changed |= node.value is not None
    return ast.Return(ast.Constant(None))


class DroppedBody(_Change):
  """The function does nothing."""

  def visit_FunctionDef(self, node):
    if node.name == self.entry_point:
      self.changed, node.body = True, [ast.Pass()]
    return node


class NegatedReturn(_Change):
  """Each value x that is returned becomes `not x`."""

  def visit_Return(self, node):
    self.changed |= node.value is not None
    return ast.Return(ast.UnaryOp(ast.Not(), node.value or ast.Constant(None)))


class SwappedComparison(_Change):
  """The first comparison becomes its opposite."""

  OPPOSITE = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE,
    ast.LtE: ast.Gt, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
  }  # fmt: skip

  def visit_Compare(self, node):
    if not self.changed:
      self.changed = True
      node.ops[0] = self.OPPOSITE[type(node.ops[0])]()
    return node


class NextConstant(_Change):
  """The first number becomes the next one."""

  def visit_Constant(self, node):
    if not self.changed and type(node.value) in (int, float):
      self.changed = True
      return ast.Constant(node.value + 1)
    return node


# The first change every solution beyond recognition; the others may give an equivalent program, or
# one that the tests of a problem do not tell apart.
SURE = (ReturnNone, DroppedBody, NegatedReturn)
OTHERS = (SwappedComparison, NextConstant)


def mutate(source, entry_point, operator):
  """The mutant of a program, or None where the operator finds nothing to change.

  Only the function `entry_point` is changed.
  """
  tree = copy.deepcopy(ast.parse(source))
  change = operator(entry_point)
  for node in tree.body:
    if isinstance(node, ast.FunctionDef) and node.name == entry_point:
      change.visit(node)
  return ast.unparse(ast.fix_missing_locations(tree)) if change.changed else None
