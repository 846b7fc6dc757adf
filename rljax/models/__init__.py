"""Models as `Policy`: the decoder, Hugging Face files, Linen modules, drafts, masks."""

from rljax.models.config import DecoderConfig
from rljax.models.drafted import with_draft
from rljax.models.hub import local_directory
from rljax.models.huggingface import export, load, read_config
from rljax.models.linen import from_linen
from rljax.models.masked import masked
from rljax.models.transformer import decoder, from_config

__all__ = [
  'DecoderConfig',
  'decoder',
  'export',
  'from_config',
  'from_linen',
  'load',
  'local_directory',
  'masked',
  'read_config',
  'with_draft',
]
