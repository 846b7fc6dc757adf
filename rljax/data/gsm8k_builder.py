"""GSM8K as a TensorFlow Datasets builder, in array_record files and without TensorFlow.

    builder = Gsm8k(source='downloads/gsm8k', data_dir=data_dir())
    builder.download_and_prepare()
    train = builder.as_data_source('train')   # random access; text comes as bytes
"""

from __future__ import annotations

import os
from typing import Any

import tensorflow_datasets as tfds

from rljax.data.jsonl import JsonLines

URL = (
  'https://raw.githubusercontent.com/openai/grade-school-math/master/'
  'grade_school_math/data/{split}.jsonl'
)


class Gsm8k(tfds.core.GeneratorBasedBuilder):
  """8,792 grade-school word problems with worked solutions (Cobbe et al., 2021, arXiv 2110.14168).

  Args:
    source: directory with train.jsonl and test.jsonl; None = downloaded from the authors.
    **kwargs: of the TFDS builder, `data_dir` first of all.
  """

  VERSION = tfds.core.Version('1.0.0')
  RELEASE_NOTES = {'1.0.0': 'As published.'}

  def __init__(self, *, source: str | os.PathLike[str] | None = None, **kwargs: Any) -> None:
    self._source = source
    # The default format of TFDS, tfrecord, cannot be written or read without TensorFlow.
    super().__init__(**{'file_format': 'array_record', **kwargs})

  def _info(self) -> tfds.core.DatasetInfo:
    return tfds.core.DatasetInfo(
      builder=self,
      description='Grade-school mathematics word problems with worked solutions.',
      features=tfds.features.FeaturesDict(
        {'question': tfds.features.Text(), 'answer': tfds.features.Text()}
      ),
      homepage='https://github.com/openai/grade-school-math',
      license='MIT',
      disable_shuffling=True,  # records keep the numbers of the authors' lines
      citation='Cobbe et al., Training Verifiers to Solve Math Word Problems, arXiv:2110.14168',
    )

  def _split_generators(self, dl_manager):
    if self._source is None:
      files = dl_manager.download({s: URL.format(split=s) for s in ('train', 'test')})
    else:
      files = {s: os.path.join(self._source, f'{s}.jsonl') for s in ('train', 'test')}
    return {split: self._generate_examples(file) for split, file in files.items()}

  def _generate_examples(self, path):
    for index, record in enumerate(JsonLines(path)):
      yield index, {'question': record['question'], 'answer': record['answer']}
