"""Models as `Policy`: the decoder, Hugging Face files, Linen and NNX, adapters, drafts, masks."""

from rljax.models.config import DecoderConfig
from rljax.models.drafted import with_draft
from rljax.models.hub import local_directory
from rljax.models.huggingface import export, load, read_config
from rljax.models.linen import from_linen
from rljax.models.lora import Lora, lora
from rljax.models.masked import masked
from rljax.models.nnx import from_nnx
from rljax.models.transformer import decoder, from_config

__all__ = [
  'DecoderConfig',
  'Lora',
  'decoder',
  'export',
  'from_config',
  'from_linen',
  'from_nnx',
  'load',
  'local_directory',
  'lora',
  'masked',
  'read_config',
  'with_draft',
]
