"""Directories of models that are not here: hf://owner/name, and those on an object store."""

from __future__ import annotations

from pathlib import Path

from rljax import files

SCHEME = 'hf://'
# The model, its tokenizer and its chat template; no other framework's weights.
PATTERNS = ('*.json', '*.safetensors', '*.jinja', '*.model', '*.txt')


def local_directory(path: str | Path) -> Path:
  """`path`, or where the download of hf://owner/name or of a remote directory stands.

  Examples:
    >>> files.make_folder('a_model')
    >>> print(models.local_directory('a_model').name)
    a_model
  """
  if str(path).startswith(SCHEME):
    return snapshot(str(path))
  return files.local_copy(str(path)) if files.is_remote(path) else Path(path).expanduser()


def snapshot(address: str) -> Path:
  """Downloads hf://owner/name or hf://owner/name@revision and returns its directory.

  Files stay in the cache of `huggingface_hub` ($HF_HOME); what is there is not fetched again.

  Raises:
    ValueError: not of that form.
    PermissionError: the repository wants a login or the acceptance of its license.
    FileNotFoundError: there is no such repository or revision.
    ConnectionError: the hub does not answer.
  """
  from huggingface_hub import errors, snapshot_download

  name, _, revision = address.removeprefix(SCHEME).partition('@')
  if len([part for part in name.split('/') if part]) != 2 or name.count('/') != 1:
    raise ValueError(f'{address!r} is not of the form hf://owner/name or hf://owner/name@revision')
  page = f'https://huggingface.co/{name}'
  try:
    found = snapshot_download(name, revision=revision or None, allow_patterns=list(PATTERNS))
  except errors.GatedRepoError:
    raise PermissionError(
      f'{address}: accept the license at {page}, then set HF_TOKEN to a token of that account'
    ) from None
  except errors.RepositoryNotFoundError:
    raise FileNotFoundError(
      f'{address}: there is no {page}, or it is private: then set HF_TOKEN to a token that may '
      'read it'
    ) from None
  except errors.RevisionNotFoundError:
    raise FileNotFoundError(f'{address}: {page} has no revision {revision!r}') from None
  except errors.HfHubHTTPError as error:
    status = getattr(error.response, 'status_code', None)
    if status in (401, 403):
      raise PermissionError(
        f'{address}: refused ({status}); set HF_TOKEN to a token that may read {page}, and accept '
        'its license there if it has one'
      ) from None
    raise ConnectionError(f'{address}: the hub answered {status}; try again later') from None
  except (errors.LocalEntryNotFoundError, OSError) as error:
    raise ConnectionError(
      f'{address}: not in the cache, and the hub cannot be reached ({type(error).__name__}); '
      'download it elsewhere and give the directory'
    ) from None
  return Path(found)
