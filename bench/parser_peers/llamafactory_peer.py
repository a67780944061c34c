"""The YAML as LLaMA-Factory's command reads it, by `get_train_args`; the rows through its own converter.

Its check of the versions beside it is switched off: here it runs beside newer ones.
"""

from __future__ import annotations

import json
import os
import sys
import types
from importlib.metadata import version
from pathlib import Path

from common import as_values, job, report


def without_media() -> None:
    """Its package `data` without what that imports at once: readers of sound and film, which are not here."""
    import llamafactory

    package = types.ModuleType("llamafactory.data")
    package.__path__ = [str(Path(next(iter(llamafactory.__path__))) / "data")]
    sys.modules[package.__name__] = package


def main() -> None:
    os.environ["DISABLE_VERSION_CHECK"] = "1"
    config, folder = job()
    without_media()
    from llamafactory.data.converter import get_dataset_converter
    from llamafactory.data.parser import get_dataset_list
    from llamafactory.hparams import get_train_args

    sys.argv = ["llamafactory-cli", config, "use_cpu=true"]
    model, data, training, tuning, _ = get_train_args()  # an unknown key raises here
    rows, lost = {}, 0
    for attribute in get_dataset_list([*data.dataset, *(data.eval_dataset or [])], data.dataset_dir):
        convert = get_dataset_converter(attribute.formatting, attribute, data)
        text = (folder / data.dataset_dir / attribute.dataset_name).read_text(encoding="utf-8")
        converted = [convert(json.loads(line)) for line in text.splitlines()]
        rows[attribute.dataset_name] = len(converted)
        lost += sum(not each["_prompt"] or len(each["_response"]) != 1 + attribute.ranking for each in converted)
    values = as_values(model, data, training, tuning)
    report(version=version("llamafactory"), unknown=[], values=values, rows=rows, lost=lost)


main()
