"""Wires the trainer: `python -m stillhouse.trainer run --request URI`, or `serve`."""

from __future__ import annotations

import sys

from stillhouse.rpc.job import Operation, job_main
from stillhouse.trainer.bases import LOGIC_VERSION as BASE_LOGIC_VERSION
from stillhouse.trainer.bases import STAGE as BASE_STAGE
from stillhouse.trainer.bases import prepare_base
from stillhouse.trainer.config import TrainerConfig
from stillhouse.trainer.progress import STAGE as TRAIN_STAGE
