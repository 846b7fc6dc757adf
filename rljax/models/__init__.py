"""Models as `Policy`: the decoder, Hugging Face files, Linen modules."""

from rljax.models.config import DecoderConfig
from rljax.models.transformer import decoder, from_config

__all__ = ['DecoderConfig', 'decoder', 'from_config']
