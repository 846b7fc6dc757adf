"""Whether two short answers are equal: numbers, formulas, sets, text."""
