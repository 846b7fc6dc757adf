"""Which tokens and samples carry the policy loss: arrays -> (keep, counted in the denominator)."""

__all__: list[str] = []
